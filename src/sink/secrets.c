// SPDX-License-Identifier: Apache-2.0
#include "sink/secrets.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

void secret_free(char *secret)
{
    if (secret == NULL)
        return;
    mem_wipe(secret, strlen(secret));
    mem_free(secret);
}

// Reads at most size bytes. How many, or a negative code.
static ssize_t read_start(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, out + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int code = -errno;
            close(fd);
            return code;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    return (ssize_t)len;
}

static int read_file(const char *name, const char *path, char **out, struct err *err)
{
    char data[SECRET_MAX + 2]; // one more than allowed, so that what is too long is seen, and a line break
    int rc = 0;
    ssize_t len = read_start(path, data, sizeof data);
    if (len < 0) {
        rc = err_set(err, (int)len, "%s_FILE: %s: %s", name, path, err_text((int)len));
        goto out;
    }
    const char *end = memchr(data, '\n', (size_t)len);
    size_t line = end != NULL ? (size_t)(end - data) : (size_t)len;
    if (line > 0 && data[line - 1] == '\r')
        line--;
    if (memchr(data, '\0', line) != NULL)
        rc = err_set(err, -EINVAL, "%s_FILE: %s: the first line has a control character", name, path);
    else if (line == 0)
        rc = err_set(err, -EINVAL, "%s_FILE: %s: the first line is empty", name, path);
    else
        *out = mem_strndup(data, line);
out:
    mem_wipe(data, sizeof data);
    return rc;
}

static int check(const char *name, const char *secret, struct err *err)
{
    if (strlen(secret) > SECRET_MAX)
        return err_set(err, -EINVAL, "%s: longer than %d bytes", name, SECRET_MAX);
    for (const char *at = secret; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return err_set(err, -EINVAL, "%s: has a control character", name);
    return 0;
}

int secret_read(const char *name, char **out, struct err *err)
{
    char file_name[128];
    snprintf(file_name, sizeof file_name, "%s_FILE", name);
    const char *value = getenv(name), *path = getenv(file_name);
    bool have_value = value != NULL && value[0] != '\0', have_path = path != NULL && path[0] != '\0';

    *out = NULL;
    if (have_value && have_path)
        return err_set(err, -EINVAL, "%s and %s are both set: remove one", name, file_name);
    int rc = 0;
    if (have_path)
        rc = read_file(name, path, out, err);
    else if (have_value)
        *out = mem_strdup(value);
    if (rc == 0 && *out != NULL)
        rc = check(have_path ? file_name : name, *out, err);
    if (rc != 0) {
        secret_free(*out);
        *out = NULL;
    }
    return rc;
}

static void base64(const unsigned char *data, size_t len, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t bits = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                        (left > 2 ? (uint32_t)data[i + 2] : 0);
        *out++ = letters[bits >> 18];
        *out++ = letters[bits >> 12 & 63];
        *out++ = (char)(left > 1 ? letters[bits >> 6 & 63] : '=');
        *out++ = (char)(left > 2 ? letters[bits & 63] : '=');
    }
    *out = '\0';
}

char *secret_basic(const char *user, const char *password)
{
    size_t size = strlen(user) + strlen(password) + 2;
    char *pair = mem_alloc(size);
    snprintf(pair, size, "%s:%s", user, password);
    char *out = mem_alloc(sizeof "Basic " + (size + 1) / 3 * 4);
    memcpy(out, "Basic ", sizeof "Basic ");
    base64((const unsigned char *)pair, size - 1, out + strlen("Basic "));
    secret_free(pair);
    return out;
}
