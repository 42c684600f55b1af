// SPDX-License-Identifier: Apache-2.0
#pragma once

// A folder with all that a configuration can name, good and bad, and an environment without tokens to begin with. One at
// a time.

#include "base/buf.h"

struct place {
    char dir[32];
    char config[64];                    // loom.toml
    char cert[64], key[64];             // belong together
    char other_cert[64], other_key[64]; // too, but have nothing to do with the former; expired
    char city[64], asn[64], no_db[64];  // mmdb_build.h's databases, and a file that is none
    char tokens[64];                    // token-file for "file-sensor", mode 0600
    char socket[64];                    // not there yet
    struct buf out, err;                // what run_captured's function printed, '\0' at their end
};

int place_set_up(void **state); // for cmocka: *state is the struct place
int place_tear_down(void **state);

// Writes loom.toml.
void place_config(struct place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

// An outbox in that directory, made now, whose tables a later version of Loom seems to have written.
void place_later_outbox(char *dir);

// Calls run(place->config) with standard output and error in files; their text stands in out and err.
int place_captured(struct place *place, int (*run)(const char *config));

// How many lines a text has; each ends in '\n'.
unsigned count_lines(const struct buf *text);
// Ends the text with a '\0', which does not count.
const char *text_in(struct buf *text);
