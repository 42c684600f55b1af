// SPDX-License-Identifier: Apache-2.0
#pragma once

// A disk that fails when a test asks for it. The calls by which SQLite reads, writes and syncs stand in disk.c once more; those
// of the program come first.

#include <stdbool.h>

struct disk {
    int sync_error, write_error; // errno of the call; 0: it works. Atomic
    unsigned syncs, reads_held;  // atomic
    int pages_left;              // the tester, who is the pump, can read so many, and then no more; < 0: all
};
extern struct disk disk;

int disk_setup(void **state); // yard_setup, by the tester
int disk_teardown(void **state);
void disk_set(int *error, int value); // one of the two above
void disk_hold_reads(bool hold);      // those of other threads do not return, for 20 s at most
void disk_wait_held_read(void);
