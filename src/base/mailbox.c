// SPDX-License-Identifier: Apache-2.0
#include "base/mailbox.h"

#include <stddef.h>

// Senders push onto a list with one compare-and-swap; the receiver takes the whole list with one exchange, so no
// element is ever popped alone and there is no ABA to guard against.

void mailbox_init(struct mailbox *box, void (*wake)(void *ctx), void *ctx)
{
    *box = (struct mailbox){.wake = wake, .ctx = ctx};
}

void mailbox_send(struct mailbox *box, struct mail *mail)
{
    struct mail *head = __atomic_load_n(&box->head, __ATOMIC_RELAXED);
    do {
        mail->next = head;
    } while (!__atomic_compare_exchange_n(&box->head, &head, mail, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    // From here on `mail` is the receiver's. Only the one who found the box empty wakes it.
    if (head == NULL)
        box->wake(box->ctx);
}

static struct mail *mail_reverse(struct mail *mail)
{
    struct mail *reversed = NULL;
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail->next = reversed;
        reversed = mail;
        mail = next;
    }
    return reversed;
}

bool mailbox_run(struct mailbox *box)
{
    // Acquire pairs with the release of every push in the list: each is a read-modify-write of the same word.
    struct mail *mail = mail_reverse(__atomic_exchange_n(&box->head, NULL, __ATOMIC_ACQUIRE));
    if (mail == NULL)
        return false;
    while (mail != NULL) {
        struct mail *next = mail->next; // `run` may release the mail, or send it again
        mail->run(mail);
        mail = next;
    }
    return true;
}
