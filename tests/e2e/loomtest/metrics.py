# SPDX-License-Identifier: Apache-2.0
"""The Prometheus text format, as far as the tests need it."""

import re

SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')


class Metrics:
    def __init__(self, text):
        self.text = text
        self.types = {}
        self.samples = []  # (name, labels, value)
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ", 3)
                assert name not in self.types, f"{name} is declared twice"
                self.types[name] = kind
            elif line and not line.startswith("#"):
                match = SAMPLE.match(line)
                assert match, f"no sample: {line!r}"
                labels = dict(LABEL.findall(match.group(2) or ""))
                self.samples.append((match.group(1), labels, float(match.group(3))))
        keys = [(name, tuple(sorted(labels.items()))) for name, labels, _ in self.samples]
        assert len(keys) == len(set(keys)), "a series stands twice"

    def sum(self, name, **labels):
        """Over all series of that name with these labels; 0 where there is none."""
        return sum(
            value
            for sample, have, value in self.samples
            if sample == name and all(have.get(key) == wanted for key, wanted in labels.items())
        )

    def names(self):
        return {name for name, _, _ in self.samples}

    def labels(self, name):
        return [labels for sample, labels, _ in self.samples if sample == name]
