// SPDX-License-Identifier: Apache-2.0
#include "base/mem.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define GIVE_BACK_BYTES ((size_t)16 * 1024 * 1024)

static void mem_exhausted(size_t size) __attribute__((noreturn));
static void mem_exhausted(size_t size)
{
    LOG(LOG_ERROR, "out of memory", LOG_INT("bytes", size));
    abort();
}

// malloc(0) may return NULL; here NULL always means that memory is gone.
static size_t mem_at_least_one(size_t size)
{
    return size > 0 ? size : 1;
}

void *mem_try_alloc(size_t size)
{
    return malloc(mem_at_least_one(size));
}

void *mem_try_realloc(void *ptr, size_t size)
{
    return realloc(ptr, mem_at_least_one(size));
}

void *mem_alloc(size_t size)
{
    void *ptr = mem_try_alloc(size);
    if (ptr == NULL)
        mem_exhausted(size);
    return ptr;
}

void *mem_array(size_t count, size_t size)
{
    void *ptr = calloc(mem_at_least_one(count), mem_at_least_one(size)); // calloc checks the product
    if (ptr == NULL)
        mem_exhausted(count);
    return ptr;
}

void *mem_zalloc(size_t size)
{
    return mem_array(1, size);
}

void *mem_realloc(void *ptr, size_t size)
{
    void *moved = mem_try_realloc(ptr, size);
    if (moved == NULL)
        mem_exhausted(size);
    return moved;
}

char *mem_strndup(const char *text, size_t len)
{
    len = strnlen(text, len);
    char *copy = mem_alloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

void mem_free(void *ptr)
{
    free(ptr);
}

// Resident bytes of no file; 0 when the system does not tell.
static size_t anonymous_bytes(void)
{
    unsigned long resident, shared;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    bool read = fscanf(file, "%*u %lu %lu", &resident, &shared) == 2 && resident >= shared;
    fclose(file);
    return read ? (resident - shared) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

void mem_give_back_now(void)
{
    malloc_trim(0);
}

// What malloc itself counts as released does not tell what of it has gone back before.
void mem_give_back(void)
{
    static size_t kept;
    size_t now = anonymous_bytes();
    if (now >= kept + GIVE_BACK_BYTES) {
        mem_give_back_now();
        kept = anonymous_bytes();
    } else if (now < kept) {
        kept = now;
    }
}

void mem_wipe(void *ptr, size_t size)
{
    explicit_bzero(ptr, size);
}

void mem_invariant_failed(const char *condition, const char *file, int line)
{
    LOG(LOG_ERROR, "broken invariant", LOG_STR("condition", condition), LOG_STR("file", file), LOG_INT("line", line));
    abort();
}
