// SPDX-License-Identifier: Apache-2.0
//
// A hash table of tokens, open addressing, by a digest under a key that lives as long as the process. An attacker can't
// know the digest of what it sends, so which slots a look-up visits tells it nothing; how many it visits, and what it
// does there, is the same for every look-up.

#include "ingest/auth.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ingest/tokens.h"
#include "net/secret.h"

const unsigned sensor_status[SENSOR_STATUS_COUNT] = {204, 400, 401, 404, 405, 408, 413, 415, 429, 431, 500, 503, 0};

struct slot {
    uint8_t digest[SECRET_DIGEST_LEN];
    size_t sensor; // 1 + index; 0: empty
};

struct auth {
    struct secret_key key;
    struct sensor *sensors; // in order of id
    size_t count;
    struct sensor *unknown;
    struct slot *slots;
    size_t mask;   // number of slots, a power of two, less one
    size_t probes; // slots that every look-up visits: enough for the entry that lies farthest from its place
};

void sensor_count(struct sensor *sensor, unsigned status)
{
    size_t i = 0;
    while (i < SENSOR_STATUS_COUNT - 1 && sensor_status[i] != status)
        i++;
    counter_add(&sensor->requests[i], 1);
}

static size_t first_slot(const struct auth *auth, const uint8_t digest[SECRET_DIGEST_LEN])
{
    size_t hash;
    memcpy(&hash, digest, sizeof hash);
    return hash & auth->mask;
}

static void insert(struct auth *auth, struct secret_hasher *hasher, size_t sensor, const char *token)
{
    uint8_t digest[SECRET_DIGEST_LEN];
    secret_digest(hasher, token, strlen(token), digest);
    size_t first = first_slot(auth, digest);
    size_t distance = 0;
    while (auth->slots[(first + distance) & auth->mask].sensor != 0)
        distance++;
    struct slot *slot = &auth->slots[(first + distance) & auth->mask];
    memcpy(slot->digest, digest, sizeof digest);
    slot->sensor = sensor + 1;
    if (auth->probes < distance + 1)
        auth->probes = distance + 1;
}

static struct auth *auth_new(const struct token_list *list)
{
    struct auth *auth = mem_zalloc(sizeof *auth);
    secret_key_random(&auth->key);
    auth->count = list->count;
    auth->sensors = mem_array(list->count, sizeof *auth->sensors);
    auth->unknown = mem_zalloc(sizeof *auth->unknown);
    auth->unknown->id = mem_strdup(SENSOR_UNKNOWN);

    size_t slots = 16;
    while (slots < 4 * list->count) // a quarter full: runs stay short
        slots *= 2;
    auth->mask = slots - 1;
    auth->slots = mem_array(slots, sizeof *auth->slots);
    struct secret_hasher *hasher = auth_hasher_new(auth);
    for (size_t i = 0; i < list->count; i++) {
        auth->sensors[i].id = mem_strdup(list->at[i].sensor);
        insert(auth, hasher, i, list->at[i].token);
    }
    secret_hasher_free(hasher);
    return auth;
}

int auth_open(char *const *env, const char *token_file, struct auth **out, struct buf *problems, struct buf *warnings)
{
    struct token_list list = TOKEN_LIST_EMPTY;
    size_t before = problems->len;
    int result = 0;

    *out = NULL;
    tokens_from_env(env, &list, problems, warnings);
    if (token_file != NULL && token_file[0] != '\0')
        tokens_from_file(token_file, &list, problems, warnings);
    tokens_settle(&list, problems);
    if (list.count == 0 && problems->len == before)
        buf_str(problems, "no sensor has a token: set LOOM_SENSOR_<sensor id>=<token> in the environment, or name a "
                          "file in auth.token_file\n");
    if (problems->len != before)
        result = ERR_CONFIG;
    else
        *out = auth_new(&list);
    token_list_fini(&list);
    return result;
}

static void sensor_fini(struct sensor *sensor)
{
    mem_free((char *)sensor->id); // const for everybody else
}

void auth_close(struct auth *auth)
{
    if (auth == NULL)
        return;
    for (size_t i = 0; i < auth->count; i++)
        sensor_fini(&auth->sensors[i]);
    sensor_fini(auth->unknown);
    mem_free(auth->unknown);
    mem_free(auth->sensors);
    mem_free(auth->slots);
    mem_wipe(&auth->key, sizeof auth->key);
    mem_free(auth);
}

// credentials = auth-scheme 1*SP token68 (RFC 9110, 11.4; RFC 6750, 2.1). Empty where the value is none.
static struct text bearer_token(struct text authorization)
{
    const struct text scheme = TEXT("Bearer");
    const struct text none = {NULL, 0};
    struct text rest = text_trim(authorization);
    if (rest.len <= scheme.len || !text_eq_nocase((struct text){rest.at, scheme.len}, scheme))
        return none;
    rest = (struct text){rest.at + scheme.len, rest.len - scheme.len};
    if (rest.at[0] != ' ')
        return none;
    while (rest.len > 0 && rest.at[0] == ' ')
        rest = (struct text){rest.at + 1, rest.len - 1};
    return rest;
}

struct secret_hasher *auth_hasher_new(const struct auth *auth)
{
    return secret_hasher_new(&auth->key);
}

struct sensor *auth_check(const struct auth *auth, struct secret_hasher *hasher, struct text authorization)
{
    struct text token = bearer_token(authorization);
    if (token.len == 0)
        return NULL; // nothing secret was sent

    uint8_t digest[SECRET_DIGEST_LEN];
    secret_digest(hasher, token.at, token.len, digest);
    size_t first = first_slot(auth, digest);
    size_t found = 0;
    for (size_t i = 0; i < auth->probes; i++) {
        const struct slot *slot = &auth->slots[(first + i) & auth->mask];
        size_t equal = secret_equal(slot->digest, digest);
        found |= (0 - equal) & slot->sensor; // without a branch
    }
    return found != 0 ? &auth->sensors[found - 1] : NULL;
}

size_t auth_count(const struct auth *auth)
{
    return auth->count;
}

struct sensor *auth_sensor(const struct auth *auth, size_t i)
{
    INVARIANT(i < auth->count);
    return &auth->sensors[i];
}

struct sensor *auth_unknown(const struct auth *auth)
{
    return auth->unknown;
}
