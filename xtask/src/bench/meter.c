/* Runs one command and writes how it went: wall time, what of that was the flush of a file system, processor time and
 * peak memory. A program of its own, and this small, since a child's peak memory counts what it was forked from.
 *
 * usage: meter SYNC PROGRAM ARG...
 *   SYNC  a directory whose file system is flushed within the time, or "-"
 * What the program prints goes nowhere; standard output gets STATUS WALL_NS SYNC_NS USER_US SYSTEM_US PEAK_KIB.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long micros(struct timeval t)
{
    return t.tv_sec * 1000000LL + t.tv_usec;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const int flush = strcmp(argv[1], "-") != 0;
    const int disk = flush ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (flush && disk < 0) {
        perror(argv[1]);
        return 2;
    }
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) {
        perror("/dev/null");
        return 2;
    }
    int status;
    struct rusage use;
    long long begin = now();
    pid_t child = vfork();
    if (child == 0) {
        if (dup2(nowhere, 1) >= 0)
            execvp(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &use) != child) {
        perror("meter");
        return 2;
    }
    long long ran = now();
    if (flush && syncfs(disk) != 0) {
        perror("syncfs");
        return 2;
    }
    long long end = now();
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    printf("%d %lld %lld %lld %lld %ld\n", code, end - begin, end - ran, micros(use.ru_utime),
            micros(use.ru_stime), use.ru_maxrss);
    return fflush(stdout) == 0 ? 0 : 2;
}
