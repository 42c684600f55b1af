// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a body: each vector form says the same about it as the exact parser and finds the same events; and each
// event that it finds is an array of one when it stands in brackets by itself.

#include <stdint.h>

#include "../tests/unit/json/agree.h"
#include "base/buf.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_event(const char *body, const struct json_event *event)
{
    struct buf alone = BUF_EMPTY;
    struct json_events events = {0};
    struct json_error error;
    buf_char(&alone, '[');
    buf_append(&alone, body + event->begin, event->end - event->begin);
    buf_char(&alone, ']');
    INVARIANT(json_scan(alone.data, alone.len, &events, &error) == 0);
    INVARIANT(events.count == 1);
    INVARIANT(events.at[0].begin == 1 && events.at[0].end == alone.len - 1);
    INVARIANT(events.at[0].flags == event->flags);
    json_events_fini(&events);
    buf_fini(&alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_events events = {0};
    struct json_error error;
    bool valid;
    INVARIANT(forms_agree(data, size, &valid));
    INVARIANT((json_scan((const char *)data, size, &events, &error) == 0) == valid);
    if (valid) {
        for (size_t i = 0; i < events.count; i++)
            check_event((const char *)data, &events.at[i]);
    } else {
        INVARIANT(error.offset <= size);
    }
    json_events_fini(&events);
    return 0;
}
