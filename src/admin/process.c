// SPDX-License-Identifier: Apache-2.0

#include "admin/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    uint64_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count > 0 ? count - 1 : 0; // the folder's own descriptor
}

static void read_status(struct process_usage *out)
{
    FILE *file = fopen("/proc/self/status", "re");
    if (file == NULL)
        return;
    char line[256];
    unsigned long long value;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmRSS: %llu kB", &value) == 1)
            out->resident_bytes = value * 1024;
        else if (sscanf(line, "VmSize: %llu kB", &value) == 1)
            out->virtual_bytes = value * 1024;
        else if (sscanf(line, "Threads: %llu", &value) == 1)
            out->threads = value;
    }
    fclose(file);
}

void process_usage(struct process_usage *out)
{
    struct rusage usage;
    struct rlimit files;

    memset(out, 0, sizeof *out);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        out->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        out->max_fds = files.rlim_cur;
    out->open_fds = count_fds();
    read_status(out);
}
