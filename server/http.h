/* http.h - HTTP/1.1 over TCP: carries requests to api/ and its replies back. Knows sockets and
 * bytes; what is in a body, and which paths exist, is api's. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "api/api.h"

struct http;

struct http_options {
    struct api *api;
    int fd;              /* from http_listen; taken over, even by an http_open that fails */
    int threads;         /* 0: 4 */
    int max_connections; /* 0: 4096 */
    int idle_timeout; /* seconds a connection may be silent outside a suspended request; 0: 120 */
};

/* A listening socket for host and port (0: any free one); `bound` gets the port. A port in use is
 * named. */
enum status http_listen(const char *host, int port, int *fd, int *bound);
/* Serves from now on, on its own threads. */
enum status http_open(const struct http_options *o, struct http **out);
/* Requests between their first line and the last byte of their reply. */
int http_active(const struct http *h);
/* From now on every reply ends its connection. */
void http_drain(struct http *h);
/* Breaks off the requests that wait for something; their connections end. */
void http_abort(struct http *h);
/* http_abort, then ends all threads and connections. */
void http_close(struct http *h);

#endif
