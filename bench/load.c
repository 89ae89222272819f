/* A small SMTP load generator for the loopback interface: cheap enough that the server is what is measured.
 *
 *     load PORT MODE SESSIONS MESSAGES SIZE
 *
 * MODE "lockstep" waits for every reply; "pipelined" sends as RFC 2920 allows: MAIL, RCPT and DATA together, and
 * the next envelope together with the end of the body. MESSAGES are shared out evenly among SESSIONS concurrent
 * connections; SIZE is the octets of each message. Every reply code is checked: an unexpected one ends the
 * program with status 1, and the alarm clock ends it when the server stalls.
 *
 * Prints one JSON object. Latency is the time from sending MAIL to the reply to the end of the message.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { TIME_LIMIT = 120, LINE = 78 };

/* The steps of a session; each ends with one reply. MAIL to BODY come once per message. */
enum step { GREETING, EHLO, MAIL, RCPT, DATA, BODY, QUIT, STEPS };

static struct iovec command[STEPS];
static const char *const expected[STEPS] = {"220", "250", "250", "250", "354", "250", "221"};

struct session {
    int fd;
    enum step awaited;           /* the step whose reply comes next */
    long left;                   /* messages whose end is not yet answered */
    double begun, next_begun;    /* when MAIL was sent, for this message and for the one after it */
    struct iovec queue[STEPS];   /* what is still to be written */
    int first, last;
    char code[4];                /* the first octets of the reply line being read */
    int column;
};

static bool pipelined;
static double *latency;
static long delivered;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void flush(struct session *s) {
    while (s->first < s->last) {
        ssize_t sent = writev(s->fd, s->queue + s->first, s->last - s->first);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            die("the server closed the connection");
        for (; s->first < s->last && (size_t)sent >= s->queue[s->first].iov_len; s->first++)
            sent -= (ssize_t)s->queue[s->first].iov_len;
        if (s->first < s->last) {
            s->queue[s->first].iov_base = (char *)s->queue[s->first].iov_base + sent;
            s->queue[s->first].iov_len -= (size_t)sent;
        }
    }
    s->first = s->last = 0;
}

/* Queue the commands of the steps FROM to TO. */
static void queue(struct session *s, enum step from, enum step to) {
    if (from == MAIL)
        s->next_begun = now();
    for (enum step step = from; step <= to; step++)
        s->queue[s->last++] = command[step];
}

/* Go on after the reply to STEP; false at the end of the session. */
static bool advance(struct session *s, enum step step) {
    switch (step) {
    case GREETING:
        queue(s, EHLO, EHLO);
        break;
    case EHLO:
        queue(s, MAIL, pipelined ? DATA : MAIL);
        break;
    case MAIL:
        s->begun = s->next_begun;
        /* fall through */
    case RCPT:
        if (!pipelined)
            queue(s, step + 1, step + 1);
        break;
    case DATA:
        queue(s, BODY, BODY);
        if (pipelined)
            s->left > 1 ? queue(s, MAIL, DATA) : queue(s, QUIT, QUIT);
        break;
    case BODY:
        latency[delivered++] = now() - s->begun;
        s->left--;
        if (!pipelined)
            s->left > 0 ? queue(s, MAIL, MAIL) : queue(s, QUIT, QUIT);
        break;
    case QUIT:
    case STEPS:
        return false;
    }
    s->awaited = step == BODY && s->left > 0 ? MAIL : step + 1;
    return true;
}

/* Read all replies that have arrived; false at the end of the session. */
static bool receive(struct session *s) {
    char buffer[65536];
    for (;;) {
        ssize_t received = recv(s->fd, buffer, sizeof buffer, 0);
        if (received < 0 && errno == EAGAIN)
            return true;
        if (received <= 0)
            die("the server closed the connection");
        for (ssize_t i = 0; i < received; i++) {
            if (s->column < 4)
                s->code[s->column] = buffer[i];
            s->column++;
            if (buffer[i] != '\n')
                continue;
            if (s->column < 5 || memcmp(s->code, expected[s->awaited], 3) != 0) {
                fprintf(stderr, "load: %.3s where %s was expected\n", s->code, expected[s->awaited]);
                exit(1);
            }
            bool last_line = s->code[3] != '-';
            s->column = 0;
            if (last_line && !advance(s, s->awaited))
                return false;
        }
    }
}

/* A message of SIZE octets with its end-of-data mark. */
static struct iovec make_body(size_t size) {
    static const char header[] = "From: sender@example.com\r\nTo: demo@example.com\r\nSubject: load\r\n\r\n";
    size_t length = sizeof header - 1;
    char *text = malloc(size + 3);
    memcpy(text, header, length);
    while (length < size) {
        size_t left = size - length;
        size_t line = left <= LINE ? left : left == LINE + 1 ? LINE - 1 : LINE; /* the last needs two octets */
        memset(text + length, 'x', line - 2);
        memcpy(text + length + line - 2, "\r\n", 2);
        length += line;
    }
    memcpy(text + length, ".\r\n", 3);
    return (struct iovec){text, length + 3};
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 6)
        die("usage: load PORT pipelined|lockstep SESSIONS MESSAGES SIZE");
    int port = atoi(argv[1]), sessions = atoi(argv[3]);
    long messages = atol(argv[4]), size = atol(argv[5]);
    pipelined = strcmp(argv[2], "pipelined") == 0;
    if (sessions < 1 || messages < sessions || size < 512)
        die("at least one message per session, and 512 octets per message");

    static char *const text[STEPS] = {
        [GREETING] = "", [EHLO] = "EHLO load.example\r\n", [MAIL] = "MAIL FROM:<sender@example.com>\r\n",
        [RCPT] = "RCPT TO:<demo@example.com>\r\n", [DATA] = "DATA\r\n", [BODY] = "", [QUIT] = "QUIT\r\n"};
    for (int step = 0; step < STEPS; step++)
        command[step] = (struct iovec){text[step], strlen(text[step])};
    command[BODY] = make_body((size_t)size);
    latency = calloc((size_t)messages, sizeof *latency);

    alarm(TIME_LIMIT);
    signal(SIGPIPE, SIG_IGN);
    int epoll = epoll_create1(0);
    struct session *all = calloc((size_t)sessions, sizeof *all);
    double start = now();
    for (int i = 0; i < sessions; i++) {
        struct session *s = &all[i];
        s->left = messages / sessions + (i < messages % sessions);
        s->fd = connect_to(port);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = s};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &event) < 0)
            die("epoll");
    }
    for (int open = sessions; open > 0;) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            struct session *s = events[i].data.ptr;
            if (receive(s)) {
                flush(s);
            } else {
                close(s->fd);
                open--;
            }
        }
    }
    double seconds = now() - start;
    if (delivered != messages)
        die("messages were lost");

    qsort(latency, (size_t)messages, sizeof *latency, compare);
    printf("{\"messages\": %ld, \"seconds\": %.6f, \"p50\": %.6f, \"p99\": %.6f}\n", messages, seconds,
           latency[messages / 2], latency[messages * 99 / 100]);
}
