from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section
from app.config.values import Address, Branch, Bucket, Credential, Line, Region, Secret, Url, Word


class Storage(Section):
    model_config = SettingsConfigDict(title="Storage and catalog")

    s3_bucket: Bucket | None = Field(default=None, examples=["your-data-lake-bucket"])
    """The bucket of the lake. Unset, with no catalog either: SeaweedFS under ASGARD_HOME."""
    s3_endpoint: Address | None = Field(default=None, examples=["https://s3.example.com"])
    """Of an S3 other than AWS; its buckets are addressed by path."""
    aws_region: Region = "us-east-1"
    """Of S3_BUCKET."""
    aws_access_key_id: Word | None = Field(default=None, examples=["your-key-id"])
    """Without keys, AWS's own chain: environment, profile, web identity, instance role."""
    aws_secret_access_key: Secret | None = Field(default=None, examples=["your-secret-key"])
    """Of AWS_ACCESS_KEY_ID."""
    nessie_uri: Url | None = Field(
        default=None,
        examples=["http://nessie.data-platform.svc.cluster.local:19120/api/v1"],
    )
    """Nessie's own API; the catalog is the `/iceberg/{ref}` beside it. In its place:
    ICEBERG_REST_URI."""
    nessie_ref: Branch = "main"
    """The branch that tables are read and written on."""
    nessie_records_ref: Branch | None = Field(default=None, examples=["records"])
    """The branch of Asgard's records, so that a rollback of data leaves them alone. Default:
    NESSIE_REF."""
    iceberg_rest_uri: Url | None = Field(default=None, examples=["https://catalog.example.com"])
    """Another Iceberg REST catalog, in place of Nessie."""
    iceberg_rest_warehouse: Line | None = Field(default=None, examples=["warehouse"])
    """The warehouse in ICEBERG_REST_URI, where it has several."""
    iceberg_rest_credential: Credential | None = Field(
        default=None, examples=["your-client-id:your-client-secret"]
    )
    """`CLIENT_ID:CLIENT_SECRET` of OAuth2's client credentials; the token is renewed in time."""
    iceberg_rest_oauth2_uri: Url | None = Field(
        default=None, examples=["https://login.example.com/oauth/token"]
    )
    """Where tokens are given. Default: the catalog's own `/v1/oauth/tokens`."""
    iceberg_rest_token: Secret | None = Field(default=None, examples=["your-token"])
    """A bearer token, used as it is."""
