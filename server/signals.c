/* signals.c - see signals.h. Blocked signals and a signalfd instead of handlers: nothing runs in
 * between, and it works the same as PID 1 of a container, where a signal without a handler is
 * dropped unless it is blocked. */
#include "server/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum status signals_open(int daemon, int *fd)
{
    sigset_t set;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    if (daemon)
        sigaction(SIGHUP, &ignore, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    *fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return *fd < 0 ? fail(ERR_IO, "cannot receive signals: %s", strerror(errno)) : OK;
}

int signals_take(int fd, double seconds)
{
    struct signalfd_siginfo info;
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, seconds < 0 ? -1 : (int)(seconds * 1000)) <= 0)
        return 0;
    return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}
