// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything a start needs before it listens: configuration, tokens, certificate, databases, output. `loom` uses what is
// opened here, `loom check` only reports it, so that a check can't pass what a start would refuse.

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "enrich/enrich.h"
#include "ingest/auth.h"
#include "net/tls.h"
#include "sink/sink.h"

struct prepared {
    struct conf conf;
    struct auth *auth;
    struct tls_server *tls;    // NULL: plain HTTP
    struct enricher *enricher; // NULL: no database is configured; without those that are refused
    const struct sink_ops *sink;
};

// 0, ERR_CONFIG when the file is wrong (exit status 2), or another negative code (exit status 1). Every fault that can be found is in
// *problems, a line each; what is doubtful but works in *warnings. *out is to be released with prepared_fini in every case.
int prepare(const char *config, struct prepared *out, struct buf *problems, struct buf *warnings);
void prepared_fini(struct prepared *prepared);
