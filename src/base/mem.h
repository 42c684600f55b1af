// SPDX-License-Identifier: Apache-2.0
#pragma once

// Allocation in two grades. mem_* abort when memory is gone: for sizes that Loom itself chose.
// mem_try_* return NULL: for every size that came from the network, which ends in 413 or 503.
// Any thread. What they return is released with mem_free.

#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *ptr, size_t size) __attribute__((returns_nonnull));
void *mem_array(size_t count, size_t size) __attribute__((malloc, returns_nonnull)); // zeroed, overflow-checked
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
char *mem_strndup(const char *text, size_t len) __attribute__((malloc, returns_nonnull));

void *mem_try_alloc(size_t size) __attribute__((malloc));
void *mem_try_realloc(void *ptr, size_t size);

void mem_free(void *ptr);

// Gives back to the system what is released and still held in pieces, once 16 MiB more are resident than after the last
// time. That takes milliseconds in which nobody allocates, so it is for quiet moments. One thread.
void mem_give_back(void);
void mem_give_back_now(void); // the same, however much it is; for moments that are rare. Any thread

// Overwrites before release, in a way the compiler keeps: for tokens and passwords.
void mem_wipe(void *ptr, size_t size);

// Invariants: always on, in every build. Bad input never comes here.
#define INVARIANT(condition) ((condition) ? (void)0 : mem_invariant_failed(#condition, __FILE__, __LINE__))
void mem_invariant_failed(const char *condition, const char *file, int line) __attribute__((noreturn));
