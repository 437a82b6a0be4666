# What drivers and executors run: Spark 3.5, Iceberg, S3A and Asgard's job script.
# Build: docker build -f spark.Dockerfile -t registry.example.com/spark-custom:latest .
ARG MAVEN_IMAGE=maven:3.9-eclipse-temurin-17
ARG SPARK_BASE=apache/spark:3.5.9-scala2.12-java17-python3-ubuntu

# The versions that tests/integration/spark runs the job with; S3A without the 281 MB of
# aws-java-sdk-bundle.
FROM ${MAVEN_IMAGE} AS jars
WORKDIR /src
COPY tests/integration/spark/pom.xml pom.xml
RUN mvn -q -B dependency:copy-dependencies -DexcludeTransitive=true -DoutputDirectory=/jars

FROM ${SPARK_BASE}
COPY --from=jars /jars/ /opt/spark/jars/
COPY app/data_transformation/job.py /opt/asgard/job.py
USER 185
