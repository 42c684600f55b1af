// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "sink/sink.h"

static const struct {
    const char *type;
    const struct sink_ops *ops;
} sinks[] = {
    {"stdout", &sink_stdout},
    {"elasticsearch", &sink_elasticsearch},
    {"opensearch", &sink_elasticsearch},
};

const struct sink_ops *sink_find(const char *type)
{
    for (size_t i = 0; i < sizeof sinks / sizeof *sinks; i++)
        if (strcmp(sinks[i].type, type) == 0)
            return sinks[i].ops;
    return NULL;
}
