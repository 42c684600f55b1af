// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a request as a whole came to, in the words of the contract of outputs. Pure functions.

#include "sink/http_client.h"
#include "sink/sink.h"

#define ES_ERROR_MAX 600 // a URL may be long

struct es_outcome {
    enum sink_result result;
    int64_t retry_after_ms;
    char error[ES_ERROR_MAX]; // "elasticsearch: 401 security_exception from https://a:9200"; "" for SINK_OK
};

// Of a request that is over; `output` is output.type. SINK_OK for a status of 2xx.
void es_outcome_of(const char *output, struct http_request *request, struct es_outcome *out);
