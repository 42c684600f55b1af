// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/process.h"

static void test_numbers_are_of_this_process(void **state)
{
    struct process_usage before, after;
    (void)state;

    process_usage(&before);
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    process_usage(&after);
    assert_int_equal(after.open_fds, before.open_fds + 2);
    close(fds[0]);
    close(fds[1]);
    assert_true(after.threads >= 1); // a sanitizer may add one
    assert_true(after.resident_bytes > 100 * 1024);
    assert_true(after.virtual_bytes >= after.resident_bytes);
    assert_true(after.cpu_seconds >= before.cpu_seconds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers_are_of_this_process)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
