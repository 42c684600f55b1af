# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share. Standard library only.

process   a real Loom: its configuration, its logs, its standard output, its end
wire      HTTP/1.1 by raw socket: exactly the bytes a test wants, and a strict reader of answers
events    Spip's sample events and hostile ones
splice    what Loom may and may not have done to an event's bytes
mmdb      an independent reader of MaxMind files: the expectation that enrichment is compared with
metrics   the Prometheus text format
bulk      a stand-in for Elasticsearch and OpenSearch that fails on demand
feed      a sensor and a Loom in front of such a server, with the books of who has which event
certs     throw-away certificates
"""
