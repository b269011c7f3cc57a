/* health.c - `inferd health`: asks a running server whether it is ready, for health checks where no
 * curl is. Exit code 0: yes. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "server/cmd/cmd.h"

/* A connected socket, or -1. The addresses that mean "all" are asked at the loopback. */
static int dial(const char *host, const char *port)
{
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list;
    struct timeval patience = {3, 0};
    int fd = -1;
    if (!strcmp(host, "0.0.0.0") || !strcmp(host, "::"))
        host = host[0] == ':' ? "::1" : "127.0.0.1";
    if (getaddrinfo(host, port, &want, &list))
        return -1;
    for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen)) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

int cmd_health(const struct config *c)
{
    char port[24], request[160], reply[256];
    size_t n = 0;
    ssize_t got = 0;
    snprintf(port, sizeof port, "%lld", (long long)c->port);
    int len =
        snprintf(request, sizeof request, "GET /v1/health/%s HTTP/1.0\r\nHost: localhost\r\n\r\n",
                 c->live ? "live" : "ready");
    int fd = dial(c->host, port);
    if (fd < 0 || send(fd, request, (size_t)len, MSG_NOSIGNAL) != len) {
        fprintf(stderr, "inferd: nothing answers on %s port %s\n", c->host, port);
        if (fd >= 0)
            close(fd);
        return EXIT_BAD;
    }
    while (n < sizeof reply - 1 && (got = recv(fd, reply + n, sizeof reply - 1 - n, 0)) > 0)
        n += (size_t)got;
    reply[n] = '\0';
    close(fd);
    bool good = !strncmp(reply, "HTTP/1.", 7) && !strncmp(reply + 8, " 200", 4);
    printf("%.*s\n", (int)strcspn(reply, "\r\n"), n ? reply : "no answer");
    return good ? EXIT_GOOD : EXIT_BAD;
}
