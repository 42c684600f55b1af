// SPDX-License-Identifier: Apache-2.0
#include "store/schema.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define VERSION_MAX 16 // the last that is taken for a later Loom's; beyond it a bit of the number has flipped

// SQLite's file format, 1.3: both numbers are big-endian.
#define VERSION_AT        60
#define APPLICATION_ID_AT 68
#define HEAD_BYTES        72

bool schema_is_later(int64_t application_id, int64_t version)
{
    return application_id == SCHEMA_APPLICATION_ID && version > SCHEMA_VERSION && version <= VERSION_MAX;
}

bool schema_of_file_is_later(const char *path)
{
    uint8_t head[HEAD_BYTES];
    uint32_t version, id;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = pread(fd, head, sizeof head, 0);
    close(fd);
    if (len != HEAD_BYTES)
        return false;
    memcpy(&version, head + VERSION_AT, sizeof version);
    memcpy(&id, head + APPLICATION_ID_AT, sizeof id);
    return schema_is_later(be32toh(id), be32toh(version));
}
