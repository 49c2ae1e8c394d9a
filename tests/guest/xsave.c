/* A ptrace() to preload into user-mode Linux 6.1 on a processor with AMX.
 *
 * To restore a process's floating point registers that kernel hands PTRACE_SETREGSET an XSAVE area of 2696
 * bytes. A host with AMX takes 11008 and nothing less, and the guest panics: "ptrace set fp regs failed,
 * errno = 14". So a short area is laid over what the process has now, which is as long as the host wants. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define NT_X86_XSTATE 0x202

static char area[1 << 16];

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *addr = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) {
        /* The system call stores the word; the C library's function returns it. */
        long word = 0;
        if (syscall(SYS_ptrace, (long)request, (long)pid, addr, &word) < 0)
            return -1;
        errno = 0;
        return word;
    }
    if (request == PTRACE_SETREGSET && (long)addr == NT_X86_XSTATE) {
        struct iovec *given = data, full = { area, sizeof area };
        if (syscall(SYS_ptrace, (long)PTRACE_GETREGSET, (long)pid, addr, &full) < 0)
            return -1;
        if (full.iov_len > given->iov_len) {
            memcpy(area, given->iov_base, given->iov_len);
            return syscall(SYS_ptrace, (long)request, (long)pid, addr, &full);
        }
    }
    return syscall(SYS_ptrace, (long)request, (long)pid, addr, data);
}
