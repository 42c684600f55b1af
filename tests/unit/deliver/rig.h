// SPDX-License-Identifier: Apache-2.0
#pragma once

// The pump with a sink that does as the test says: with several hand-overs at once and without order, as the network outputs
// are, or as its limits tell. Events are {"n":<number>}, and the number says what becomes of the event. After each test every
// event that was appended has exactly one final verdict, or its batch was given back. The test's thread is the worker that
// appends and hears the answers.

#include <semaphore.h>
#include <stdbool.h>

#include "deliver/pump.h"

#define EVENTS_MAX 10000
#define CALLS_MAX  10000
#define SOON_NS    (60 * NS_PER_S) // for what takes milliseconds on an idle machine

struct call { // a hand-over, as the sink saw it
    int64_t at_ns, done_ns;
    size_t items;
    uint32_t events;
    unsigned first; // number of its first event
    uint64_t bytes;
    enum sink_result result;
};

struct rig_script {
    // Set by the test; those that change while the pump runs are atomic.
    struct sink_limits limits;
    bool refuse_open;
    int64_t delay_ms;       // < 0: reports from within deliver. Else later; with `backwards` the last one first
    bool backwards;         //
    bool healed;            // atomic: nothing is poisonous any more
    bool held, interrupted; // atomic. held: no hand-over ends
    int result;             // atomic: of every hand-over as a whole, but SINK_OK
    int64_t retry_after_ms, stuck_ms;
    uint64_t takes_bytes; // larger hand-overs: 413; 0: any
    bool partly;          // of a hand-over that fails or is too large all events but the last are taken
    unsigned retries[EVENTS_MAX];
    bool reject[EVENTS_MAX], poison[EVENTS_MAX], settled_before[EVENTS_MAX];
    bool durable;
    bool late; // sensors sent the batches so long ago that they have been answered
    // Seen on the pump's thread; read after stop, or as atomics.
    unsigned calls; // atomic
    struct call call[CALLS_MAX];
    unsigned in_flight, most_in_flight;
    unsigned seen[EVENTS_MAX], delivered[EVENTS_MAX], rejected[EVENTS_MAX];
    unsigned order[EVENTS_MAX], ordered; // what was delivered, as it was
    unsigned done_out_of_order;
    unsigned syncs, unsynced_rejections, let_go;
    uint64_t taken_bytes; // atomic
};
extern struct rig_script script;

struct rig_worker {
    struct store *store;
    struct pump *pump;
    struct conf_output output;
    struct mailbox home;
    sem_t woken;
    struct batch *batches[EVENTS_MAX];
    unsigned appended, answered, answered_safe, events;
    char dir[32];
    int log_file, real_stderr;
};
extern struct rig_worker worker;

extern const struct sink_ops rig_sink;

int rig_set_up(void **state);
int rig_tear_down(void **state);
void rig_start(int64_t backoff_ms, int64_t max_backoff_ms);
int rig_try_start(const struct sink_ops *ops, int64_t backoff_ms, int64_t max_backoff_ms, struct err *err);
uint64_t rig_stop(int64_t grace_ms);
void rig_stop_clean(void); // all is over, and each event has had one verdict
void rig_append(uint32_t events);
struct batch *rig_batch_new(uint32_t events, int padding); // for a test that appends itself
void rig_batch_free(struct batch *batch);
void rig_append_padded(uint32_t events, int padding); // wakes nobody
void rig_wait_answers(unsigned count);
void rig_wait_calls(unsigned count);
void rig_wait_events(uint64_t count); // delivered
void rig_wait_in_flight(void);        // some hand-over is; with script.held it stays
void rig_wait_up(bool up, struct pump_state *state);
// A hand-over is counted when it begins, and its events are answered before it ends: what it ended with comes a little later.
void rig_wait_last_error(const char *word, struct pump_state *state);
unsigned rig_calls(void);
unsigned rig_logged(const char *message); // how often
const char *rig_dead_letters(void);       // the file
