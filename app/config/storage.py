from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section, Technology
from app.config.values import Address, Branch, Bucket, Credential, Line, Region, Secret, Url, Word


class Storage(Section):
    model_config = SettingsConfigDict(title="Storage and catalog")
    technology = Technology("lake", "s3", ("s3_bucket", "nessie_uri", "iceberg_rest_uri"))

    s3_bucket: Bucket | None = Field(default=None, examples=["your-data-lake-bucket"])
    """Bucket of the lake. If it and the catalog are unset, SeaweedFS runs under ASGARD_HOME."""
    s3_endpoint: Address | None = Field(default=None, examples=["https://s3.example.com"])
    """Endpoint of an S3 other than AWS. Its buckets are addressed by path."""
    aws_region: Region = "us-east-1"
    """Region of S3_BUCKET."""
    aws_access_key_id: Word | None = Field(default=None, examples=["your-key-id"])
    """Access key ID. If unset, the AWS default chain applies: environment, profile, web identity,
    instance role."""
    aws_secret_access_key: Secret | None = Field(default=None, examples=["your-secret-key"])
    """Secret access key of AWS_ACCESS_KEY_ID."""
    nessie_uri: Url | None = Field(
        default=None,
        examples=["http://nessie.data-platform.svc.cluster.local:19120/api/v1"],
    )
    """URL of Nessie's own API. The catalog is at `/iceberg/{ref}` next to it. The alternative is
    ICEBERG_REST_URI."""
    nessie_ref: Branch = "main"
    """Branch on which tables are read and written."""
    nessie_records_ref: Branch | None = Field(default=None, examples=["records"])
    """Branch of Asgard's records, so that a rollback of data does not affect them. Default:
    NESSIE_REF."""
    iceberg_rest_uri: Url | None = Field(default=None, examples=["https://catalog.example.com"])
    """URL of an Iceberg REST catalog, as an alternative to Nessie."""
    iceberg_rest_warehouse: Line | None = Field(default=None, examples=["warehouse"])
    """Warehouse in ICEBERG_REST_URI, if it has several."""
    iceberg_rest_credential: Credential | None = Field(
        default=None, examples=["your-client-id:your-client-secret"]
    )
    """OAuth2 client credentials, as `CLIENT_ID:CLIENT_SECRET`. Asgard renews the token before it
    expires."""
    iceberg_rest_oauth2_uri: Url | None = Field(
        default=None, examples=["https://login.example.com/oauth/token"]
    )
    """URL that issues tokens. Default: the catalog's own `/v1/oauth/tokens`."""
    iceberg_rest_token: Secret | None = Field(default=None, examples=["your-token"])
    """Bearer token, used as given."""
