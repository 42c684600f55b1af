// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mailbox.h"

#include <pthread.h>
#include <semaphore.h>

#include "base/mem.h"

#define SENDERS 4
#define LETTERS 20000

struct letter {
    struct mail mail; // first
    unsigned sender, number;
};

static unsigned seen[SENDERS];
static unsigned received;
static unsigned wakes;
static struct mailbox box;
static sem_t semaphore;

static void count_wake(void *ctx)
{
    (*(unsigned *)ctx)++;
}

static void in_order(struct mail *mail)
{
    struct letter *letter = (struct letter *)mail;
    assert_int_equal(letter->number, seen[letter->sender]);
    seen[letter->sender]++;
    received++;
}

static void order_is_kept_and_only_the_first_wakes(void **state)
{
    (void)state;
    seen[0] = wakes = 0;
    mailbox_init(&box, count_wake, &wakes);
    assert_false(mailbox_run(&box));
    struct letter letters[3] = {{{NULL, in_order}, 0, 0}, {{NULL, in_order}, 0, 1}, {{NULL, in_order}, 0, 2}};
    for (int i = 0; i < 3; i++)
        mailbox_send(&box, &letters[i].mail);
    assert_int_equal(wakes, 1);
    assert_true(mailbox_run(&box));
    assert_int_equal(seen[0], 3);
    assert_false(mailbox_run(&box));
    letters[0].number = 3;
    mailbox_send(&box, &letters[0].mail);
    assert_int_equal(wakes, 2);
    assert_true(mailbox_run(&box));
    assert_int_equal(seen[0], 4);
}

static void send_again(struct mail *mail)
{
    if (++received < 3)
        mailbox_send(&box, mail);
}

static void run_may_send_to_its_own_box(void **state)
{
    (void)state;
    received = wakes = 0;
    mailbox_init(&box, count_wake, &wakes);
    struct mail mail = {NULL, send_again};
    mailbox_send(&box, &mail);
    // What `run` sends is for the next turn, announced by a wake, so that one box can't starve its loop.
    assert_true(mailbox_run(&box));
    assert_int_equal(received, 1);
    assert_int_equal(wakes, 2);
    while (mailbox_run(&box)) {
    }
    assert_int_equal(received, 3);
}

static void post_semaphore(void *ctx)
{
    sem_post(ctx);
}

static void *send_letters(void *arg)
{
    struct letter *letters = arg;
    for (unsigned i = 0; i < LETTERS; i++)
        mailbox_send(&box, &letters[i].mail);
    return NULL;
}

static void many_senders_lose_nothing(void **state)
{
    (void)state;
    received = 0;
    sem_init(&semaphore, 0, 0);
    mailbox_init(&box, post_semaphore, &semaphore);
    pthread_t senders[SENDERS];
    struct letter *letters = mem_array(SENDERS * LETTERS, sizeof *letters);
    for (unsigned s = 0; s < SENDERS; s++) {
        seen[s] = 0;
        for (unsigned i = 0; i < LETTERS; i++)
            letters[s * LETTERS + i] = (struct letter){{NULL, in_order}, s, i};
        assert_int_equal(pthread_create(&senders[s], NULL, send_letters, letters + s * LETTERS), 0);
    }
    // A missed wake would leave this waiting for ever, and the test runner would say so.
    while (received < SENDERS * LETTERS) {
        sem_wait(&semaphore);
        mailbox_run(&box);
    }
    for (unsigned s = 0; s < SENDERS; s++) {
        pthread_join(senders[s], NULL);
        assert_int_equal(seen[s], LETTERS);
    }
    mem_free(letters);
    sem_destroy(&semaphore);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_kept_and_only_the_first_wakes),
        cmocka_unit_test(run_may_send_to_its_own_box),
        cmocka_unit_test(many_senders_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
