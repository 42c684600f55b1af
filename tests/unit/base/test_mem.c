// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

// How a child ends that runs `body`: the number of the signal, or 0 when it returned.
static int signal_of(void (*body)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void break_invariant(void)
{
    INVARIANT(1 + 1 == 3);
}

static void keep_invariant(void)
{
    INVARIANT(1 + 1 == 2);
}

static void exhaust(void)
{
    mem_alloc((size_t)1 << 60); // more than any address space has
}

static void overflow_array(void)
{
    mem_array(SIZE_MAX / 2, 3);
}

static void nothing_is_still_an_object(void **state)
{
    (void)state;
    void *ptr = mem_try_alloc(0);
    assert_non_null(ptr);
    ptr = mem_try_realloc(ptr, 0);
    assert_non_null(ptr);
    mem_free(ptr);
    mem_free(mem_array(0, 8));
    mem_free(NULL);
}

static void arrays_are_zeroed(void **state)
{
    (void)state;
    int *numbers = mem_array(100, sizeof *numbers);
    for (int i = 0; i < 100; i++)
        assert_int_equal(numbers[i], 0);
    mem_free(numbers);
}

static void strings_are_copied_up_to_the_zero(void **state)
{
    (void)state;
    char *copy = mem_strndup("abc", 2);
    assert_string_equal(copy, "ab");
    mem_free(copy);
    copy = mem_strndup("abc", 100);
    assert_string_equal(copy, "abc");
    mem_free(copy);
    copy = mem_strdup("");
    assert_string_equal(copy, "");
    mem_free(copy);
}

static void wipe_overwrites(void **state)
{
    (void)state;
    char secret[] = "secret";
    mem_wipe(secret, sizeof secret);
    assert_memory_equal(secret, "\0\0\0\0\0\0\0", sizeof secret);
}

static long resident_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    assert_non_null(status);
    while (fgets(line, sizeof line, status) != NULL)
        sscanf(line, "RssAnon: %ld kB", &kib);
    fclose(status);
    assert_true(kib >= 0);
    return kib;
}

// The last piece keeps the heap from shrinking by itself.
static void released_memory_is_given_back(void **state)
{
    enum { PIECES = 2000, PIECE_BYTES = 32 * 1024 };
    static char *pieces[PIECES];
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); // their allocators are others
#endif
    for (size_t i = 0; i < PIECES; i++)
        memset(pieces[i] = mem_alloc(PIECE_BYTES), 1, PIECE_BYTES);
    for (size_t i = 0; i < PIECES - 1; i++)
        mem_free(pieces[i]);
    long before_kib = resident_kib();
    mem_give_back();
    assert_true(before_kib - resident_kib() > 50 * 1024);
    mem_free(pieces[PIECES - 1]);

    // A little is kept.
    for (size_t i = 0; i < 100; i++)
        memset(pieces[i] = mem_alloc(PIECE_BYTES), 1, PIECE_BYTES);
    for (size_t i = 0; i < 99; i++)
        mem_free(pieces[i]);
    before_kib = resident_kib();
    mem_give_back();
    assert_true(before_kib - resident_kib() < 1024);
    mem_give_back_now(); // unless it is to go in any case
    assert_true(before_kib - resident_kib() > 2 * 1024);
    mem_free(pieces[99]);

    // And the next burst goes back, too.
    for (size_t i = 0; i < PIECES; i++)
        memset(pieces[i] = mem_alloc(PIECE_BYTES), 1, PIECE_BYTES);
    for (size_t i = 0; i < PIECES - 1; i++)
        mem_free(pieces[i]);
    before_kib = resident_kib();
    mem_give_back();
    assert_true(before_kib - resident_kib() > 50 * 1024);
    mem_free(pieces[PIECES - 1]);
}

static void broken_invariants_abort(void **state)
{
    (void)state;
    assert_int_equal(signal_of(keep_invariant), 0);
    assert_int_equal(signal_of(break_invariant), SIGABRT);
}

// The sanitizers' allocators end the process on an impossible size unless told to fail as malloc does.
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void exhaustion_aborts(void **state)
{
    (void)state;
    assert_int_equal(signal_of(exhaust), SIGABRT);
    assert_int_equal(signal_of(overflow_array), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_still_an_object),
        cmocka_unit_test(arrays_are_zeroed),
        cmocka_unit_test(strings_are_copied_up_to_the_zero),
        cmocka_unit_test(wipe_overwrites),
        cmocka_unit_test(released_memory_is_given_back),
        cmocka_unit_test(broken_invariants_abort),
        cmocka_unit_test(exhaustion_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
