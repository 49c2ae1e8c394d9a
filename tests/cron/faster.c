/* Time for Debian's cron: a year of it passes as fast as cron can count the minutes.
 *
 * Preloaded, it has cron live by a clock that only its own sleeping moves, and notes what cron says it runs,
 * instead of running it.  FROM and TO are seconds since the epoch, NOTES is a file for lines
 * such as `1798761601 (root) CMD (: 17)`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static time_t now, end;
static int notes = -1, in_child;

__attribute__((constructor)) static void begin(void)
{
	now = atoll(getenv("FROM"));
	end = atoll(getenv("TO"));
	/* cron closes the low ones. */
	int file = open(getenv("NOTES"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	notes = fcntl(file, F_DUPFD_CLOEXEC, 500);
	close(file);
	if (notes < 0)
		_exit(3);
}

time_t time(time_t *to)
{
	if (to)
		*to = now;
	return now;
}

/* What cron has started is over before any time passes. */
unsigned int sleep(unsigned int seconds)
{
	while (wait(NULL) > 0 || errno == EINTR)
		;
	now += seconds;
	if (now >= end)
		_exit(0);
	return 0;
}

/* cron forks twice for a job; once is enough here. */
pid_t fork(void)
{
	static pid_t (*really)(void);
	if (in_child)
		return 0;
	if (!really)
		really = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
	pid_t child = really();
	in_child = child == 0;
	return child;
}

/* cron says here what it runs, right before it does. */
void __syslog_chk(int priority, int flag, const char *format, ...)
{
	char line[4096];
	va_list arguments;
	int length = snprintf(line, sizeof line, "%lld ", (long long)now);
	va_start(arguments, format);
	length += vsnprintf(line + length, sizeof line - length - 1, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof line - 2)
		length = sizeof line - 2;
	line[length++] = '\n';
	if (write(notes, line, length) != length)
		_exit(3);
	if (strstr(line, ") CMD ("))
		_exit(0);
	(void)priority, (void)flag;
}

/* Nobody is asked whether cron may: there is no PAM here. */
int pam_start(const char *service, const char *user, const void *conversation, void **handle)
{
	static int session;
	(void)service, (void)user, (void)conversation;
	*handle = &session;
	return 0;
}

int pam_set_item(void *handle, int item, const void *value)
{
	(void)handle, (void)item, (void)value;
	return 0;
}

static int granted(void) { return 0; }
int pam_acct_mgmt() __attribute__((alias("granted")));
int pam_setcred() __attribute__((alias("granted")));
int pam_open_session() __attribute__((alias("granted")));
int pam_close_session() __attribute__((alias("granted")));
int pam_end() __attribute__((alias("granted")));

char **pam_getenvlist(void *handle)
{
	(void)handle;
	return calloc(1, sizeof(char *));
}

/* Should cron go further than to say what it runs, it ends: nothing is ever run. */
int execle(const char *path, const char *argument, ...)
{
	(void)path, (void)argument;
	_exit(4);
}

int execvp(const char *file, char *const arguments[])
{
	(void)file, (void)arguments;
	_exit(4);
}
