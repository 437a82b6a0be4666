"""What `/metrics` says, as values by labels."""

from prometheus_client.parser import text_string_to_metric_families


def counted(text: str, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }
