/*
 * An LD_PRELOAD library: while the file named by IOERRORS exists, one in IOERRORS_IN writes and syncs of a
 * file whose path begins with IOERRORS_UNDER fails with EIO, as on a disk that goes bad.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int fd)
{
	const char *armed = getenv("IOERRORS"), *under = getenv("IOERRORS_UNDER"), *in = getenv("IOERRORS_IN");
	char link[64], path[4096];
	ssize_t length;

	if (!armed || !under || !in || random() % atoi(in) != 0 || access(armed, F_OK) != 0)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	if (length < 0)
		return 0;
	path[length] = '\0';
	if (strncmp(path, under, strlen(under)) != 0)
		return 0;
	errno = EIO;
	return 1;
}

#define REAL(name) \
	static __typeof__(&name) real; \
	if (!real) \
		real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size)
{
	REAL(write);
	return fails(fd) ? -1 : real(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	REAL(pwrite64);
	return fails(fd) ? -1 : real(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	REAL(pwrite);
	return fails(fd) ? -1 : real(fd, data, size, offset);
}

int fsync(int fd)
{
	REAL(fsync);
	return fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	return fails(fd) ? -1 : real(fd);
}
