/* Work on files that no program of a shell does without starting a process for each.
 *
 *   files open FILE N     opens and closes it N times
 *   files pread FILE N    reads 4,096 bytes of it at N places in no order
 *   files create DIR N    N times makes a file in DIR, writes 1,024 bytes, closes and removes it
 *   files read FILE       reads it from its beginning to its end, 128 KiB a call
 *   files write FILE N    writes N MiB, 128 KiB a call, and syncs nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char block[128 * 1024];

static int wrong(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

static int opens(const char *file, long times)
{
	for (long i = 0; i < times; i++) {
		int fd = open(file, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || close(fd) < 0)
			return wrong(file);
	}
	return 0;
}

static int preads(const char *file, long times)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat stat;
	if (fd < 0 || fstat(fd, &stat) < 0)
		return wrong(file);
	uint64_t pages = (uint64_t)stat.st_size / 4096, state = 88172645463325252u;
	for (long i = 0; i < times; i++) {
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		if (pread(fd, block, 4096, (off_t)(state % pages * 4096)) != 4096)
			return wrong(file);
	}
	return close(fd) < 0 ? wrong(file) : 0;
}

static int creates(const char *dir, long times)
{
	char name[64];
	if (chdir(dir) < 0)
		return wrong(dir);
	for (long i = 0; i < times; i++) {
		snprintf(name, sizeof name, "file-%ld", i);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, block, 1024) != 1024 || close(fd) < 0)
			return wrong(name);
	}
	for (long i = 0; i < times; i++) {
		snprintf(name, sizeof name, "file-%ld", i);
		if (unlink(name) < 0)
			return wrong(name);
	}
	return 0;
}

static int reads(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return wrong(file);
	ssize_t done;
	while ((done = read(fd, block, sizeof block)) > 0)
		;
	return done < 0 || close(fd) < 0 ? wrong(file) : 0;
}

static int writes(const char *file, long mib)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return wrong(file);
	for (long i = 0; i < mib * 8; i++)
		if (write(fd, block, sizeof block) != sizeof block)
			return wrong(file);
	return close(fd) < 0 ? wrong(file) : 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	long count = argc > 3 ? atol(argv[3]) : 0;
	if (!strcmp(what, "open"))
		return opens(argv[2], count);
	if (!strcmp(what, "pread"))
		return preads(argv[2], count);
	if (!strcmp(what, "create"))
		return creates(argv[2], count);
	if (!strcmp(what, "read"))
		return reads(argv[2]);
	if (!strcmp(what, "write"))
		return writes(argv[2], count);
	fprintf(stderr, "files open|pread|create|read|write …\n");
	return 2;
}
