// SPDX-License-Identifier: Apache-2.0
#pragma once

// As much of cmocka's interface as the tests of src/json use, for a processor that this machine has no cmocka for. The
// first failure ends the program.

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define print_error(...) fprintf(stderr, __VA_ARGS__)

#define assert_true(condition)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
#define assert_false(condition)        assert_true(!(condition))
#define assert_int_equal(a, b)         assert_true((intmax_t)(a) == (intmax_t)(b))
#define assert_int_not_equal(a, b)     assert_true((intmax_t)(a) != (intmax_t)(b))
#define assert_ptr_equal(a, b)         assert_true((const void *)(a) == (const void *)(b))
#define assert_string_equal(a, b)      assert_true(strcmp((a), (b)) == 0)
#define assert_string_not_equal(a, b)  assert_true(strcmp((a), (b)) != 0)
#define assert_memory_equal(a, b, len) assert_true(memcmp((a), (b), (len)) == 0)

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};
#define cmocka_unit_test(function)                                                                                     \
    {                                                                                                                  \
#function, function                                                                                            \
    }

#define cmocka_run_group_tests(tests, setup, teardown) run_all((tests), sizeof(tests) / sizeof *(tests))

static inline int run_all(const struct CMUnitTest *tests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *state = NULL;
        tests[i].run(&state);
    }
    printf("%zu tests passed\n", count);
    return 0;
}
