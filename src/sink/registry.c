// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "sink/sink.h"

static const struct sink_ops *const sinks[] = {&sink_stdout};

const struct sink_ops *sink_find(const char *type)
{
    for (size_t i = 0; i < sizeof sinks / sizeof *sinks; i++)
        if (strcmp(sinks[i]->name, type) == 0)
            return sinks[i];
    return NULL;
}
