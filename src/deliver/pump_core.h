// SPDX-License-Identifier: Apache-2.0
#pragma once

// The inside of the pump, for its files: pump.c (thread, start, stop, what goes next), outcome.c (what comes back) and
// state.c (up, down, what others may ask). Fields belong to the pump's thread where nothing else is said.

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mailbox.h"
#include "deliver/backoff.h"
#include "deliver/held.h"
#include "deliver/parcel.h"
#include "deliver/pump.h"
#include "net/loop.h"

struct pump {
    const struct sink_ops *ops;
    struct sink *sink;
    struct store *store;
    const struct conf_output *output;
    struct loop *loop;
    pthread_t thread;
    int64_t stuck_ns;
    struct sink_limits limits;
    uint64_t max_events; // of a hand-over, by sink and configuration
    uint64_t held_max;   // bytes of unsettled events, beyond which nothing more is taken

    struct held held;
    struct queue fresh;      // taken, or back because the output as a whole had trouble: these are cut anew
    struct parcels waiting;  // came back event by event, each with its own time
    struct parcels suspects; // the output failed on these or finds them too large: they go alone, as they are
    struct parcels spare;

    struct backoff backoff; // of the output as a whole
    int64_t backoff_until_ns;
    int64_t busy_since_ns; // the output asks for time since then; 0: it does not
    uint64_t progress;     // hand-overs that went well
    uint64_t cap_bytes;    // of a hand-over: limits.max_bytes, or less after a 413

    struct dead_letters *dead;
    uint64_t lettered; // events that wait for the dead letters
    uint64_t rejected; // events, not yet told in the log

    struct loop_timer timer;
    int64_t timer_ns; // what it was started for; 0: it does not run
    int64_t down_mono_ns, told_down_ns;
    uint64_t given_back;

    unsigned turn;            // which of fresh, waiting and suspects is asked first
    unsigned in_flight;       // hand-overs
    unsigned failed_in_a_row; // hand-overs the output failed on, since one went well
    unsigned cap_went_well;   // hand-overs near the cap, since it was last changed
    bool working;             // pump_work is on the stack
    bool backing_off;         // the output as a whole, until backoff_until_ns
    bool has_prober;          // one of the suspects is the prober
    bool full;                // down for no other reason than that what is tried again takes all the room
    bool asleep;              // the next append is to send wake_mail, or has done so
    bool wake_is_due;         // wake_mail is in the mailbox, so it must not be sent again
    bool given_up;            // at the end, with a durable store: what is left stays there
    bool over;

    // Any thread.
    int64_t progress_ns;    // atomic: when what is in flight last got on; 0: nothing is
    const char *last_error; // atomic: a fixed word
    bool awake;             // atomic: a wake would change nothing
    bool up;                // atomic: the output takes events, for all that is known
    bool stuck_told;        // atomic: the log says that it is stuck
    counter let_go;         // see struct pump_state
    bool stopping;          // atomic: end when the store is empty
    bool abandoned;         // atomic: end now
    struct sink_stats stats;
    struct mail wake_mail, stop_mail, abandon_mail;

    pthread_mutex_t mutex;
    pthread_cond_t changed; // opened or ended
    int open_rc;            // under the mutex, as what follows: what the sink's open has returned
    bool opened, ended;
    struct err *open_err;              // of pump_start, until opened
    int64_t since_real_ns;             // up or down
    char reason[ERR_TEXT_MAX];         // when down
    char letters_reason[ERR_TEXT_MAX]; // why dead letters can't be written
};

static inline bool pump_is(const bool *flag) // one of the atomic ones
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

// pump.c: so much that the output is not full again with the next batch.
bool pump_has_room(const struct pump *pump);

// state.c
bool pump_delivering(void *ctx); // the store's question. Any thread
void pump_went_down(struct pump *pump, const char *reason);
void pump_went_up(struct pump *pump, const char *message); // for the log, when it was down
void pump_made_progress(struct pump *pump, int64_t now_ns);
void pump_tell_letters(struct pump *pump, const char *reason); // "": all is well

// outcome.c: what the sink reports.
void pump_on_settle(void *ctx, struct handover *handover, struct batch *batch, uint32_t first, uint32_t count,
                    enum verdict verdict);
void pump_on_reject(void *ctx, struct handover *handover, struct batch *batch, uint32_t event, unsigned status,
                    struct text kind, struct text reason);
// The parcel is over: its events are settled or in one of the queues, and it itself is released or queued.
void pump_finish(struct pump *pump, struct parcel *parcel, const struct sink_outcome *outcome);
