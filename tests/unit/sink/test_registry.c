// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sink/sink.h"

static void found_by_type(void **state)
{
    (void)state;
    assert_ptr_equal(sink_find("stdout"), &sink_stdout);
    assert_ptr_equal(sink_find("elasticsearch"), &sink_elasticsearch);
    assert_ptr_equal(sink_find("opensearch"), &sink_elasticsearch);
    assert_null(sink_find("stdou"));
    assert_null(sink_find("STDOUT"));
    assert_null(sink_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found_by_type)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
