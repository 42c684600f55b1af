// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a token file: each line that is neither blank nor a comment gives an entry that is as it should be, or
// one problem; and messages do not depend on what the lines say. For the latter the same file is read again with other
// letters (rot13 keeps what is valid valid): entries differ, problems may not.

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "ingest/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(const struct token *entry, const char *place_start)
{
    size_t token_len = strlen(entry->token), sensor_len = strlen(entry->sensor);
    INVARIANT(token_len >= 1 && token_len <= TOKEN_MAX);
    INVARIANT(sensor_len >= 1 && sensor_len <= SENSOR_ID_MAX && strcmp(entry->sensor, SENSOR_UNKNOWN) != 0);
    for (size_t i = 0; i < token_len; i++)
        INVARIANT(entry->token[i] > ' ' && entry->token[i] < 0x7F && entry->token[i] != ',');
    INVARIANT(strspn(entry->sensor, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == sensor_len);
    INVARIANT(strncmp(entry->place, place_start, strlen(place_start)) == 0);
}

static size_t count_lines(struct text text)
{
    struct text line;
    size_t count = 0;
    while (text_line(&text, &line))
        count++;
    return count;
}

static size_t count_meant(struct text text)
{
    struct text line;
    size_t count = 0;
    while (text_line(&text, &line)) {
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        line = text_trim(line);
        count += line.len > 0 && line.at[0] != '#';
    }
    return count;
}

static void rot13(char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c >= 'a' && c <= 'z')
            data[i] = (char)('a' + (c - 'a' + 13) % 26);
        else if (c >= 'A' && c <= 'Z')
            data[i] = (char)('A' + (c - 'A' + 13) % 26);
    }
}

static void check_silence(struct text text, const struct buf *problems)
{
    // "unknown" is the one id whose letters matter; its rot13 is "haxabja".
    if (memmem(text.at, text.len, "unknown", 7) != NULL || memmem(text.at, text.len, "haxabja", 7) != NULL)
        return;
    struct token_list list = TOKEN_LIST_EMPTY;
    struct buf other = BUF_EMPTY, other_problems = BUF_EMPTY;
    buf_text(&other, text);
    rot13(other.data, other.len);
    tokens_from_text("f", (struct text){other.data, other.len}, &list, &other_problems);
    INVARIANT(
        text_eq((struct text){problems->data, problems->len}, (struct text){other_problems.data, other_problems.len}));
    token_list_fini(&list);
    buf_fini(&other);
    buf_fini(&other_problems);
}

static void check_settled(struct token_list *list)
{
    struct buf problems = BUF_EMPTY;
    tokens_settle(list, &problems);
    for (size_t i = 1; i < list->count; i++) {
        int order = strcmp(list->at[i - 1].sensor, list->at[i].sensor);
        INVARIANT(order < 0 || (order == 0 && problems.len > 0));
    }
    size_t count = list->count;
    problems.len = 0;
    tokens_settle(list, &problems); // settled is settled
    INVARIANT(list->count == count);
    buf_fini(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text text = {(const char *)data, size};
    struct token_list list = TOKEN_LIST_EMPTY;
    struct buf problems = BUF_EMPTY;

    tokens_from_text("f", text, &list, &problems);
    for (size_t i = 0; i < list.count; i++)
        check_entry(&list.at[i], "f:");
    INVARIANT(list.count + count_lines((struct text){problems.data, problems.len}) == count_meant(text));
    check_silence(text, &problems);
    check_settled(&list);

    token_list_fini(&list);
    buf_fini(&problems);
    return 0;
}
