// SPDX-License-Identifier: Apache-2.0
#include "read.h"

#include <stdio.h>
#include <stdlib.h>

void read_file(const char *path, struct buf *out)
{
    char chunk[65536];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;)
        buf_append(out, chunk, n);
    fclose(file);
}
