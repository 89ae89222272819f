/* An SMTP load generator for the loopback interface: cheap enough that the server is what is measured.
 *
 *     load --port PORT [--pid PID]... [options]
 *
 * A *turn* is what is sent at once and the replies to it. Every session goes through the turns of opening (greeting,
 * EHLO, STARTTLS), then through those of one unit of work after another, a unit being one message or, with
 * --reconnect, a connection with one message in it:
 *
 *     --mode lockstep    one command, one reply (default)
 *     --mode pipelined   as RFC 2920 allows: MAIL, RCPT and DATA at once; the body at once with the next envelope
 *     --mode bdat        MAIL, RCPT, BDAT LAST and the body at once (RFC 3030)
 *     --mode hello       no message; with --reconnect, what it costs to come and go
 *
 * Two phases: what is done for --warm seconds is forgotten, what is done for --seconds counts. A phase begins for all
 * sessions together, and ends when every unit begun in it is done. So the processor time of the processes --pid, read
 * at both ends, is that of the counted units alone: no connection is opened or closed between, no message is cut.
 *
 *     --sessions N --size OCTETS --recipients N    of the load; each message has as many octets, the dot not counted
 *     --tls none|starttls|implicit
 *     --rate N           open loop: a unit begins N times a second, ready or not, on a connection of its own
 *     --piece OCTETS --pause SECONDS     slow clients: each sends so much, then waits so long
 *     --hold             open the sessions, print "ready", and keep them until standard input ends
 *
 * Every reply code is checked; an unexpected one ends the program with status 1, and so does a server that stalls.
 * Prints one JSON object: messages (units), seconds, cpu (seconds, of the processes), own (of this program), and the
 * p50, p99 and most of the latency: from MAIL, or from the connection of a unit that opens one (in the open loop from
 * when it was due), to the reply to the end of the message.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum { STALLED = 120, LINE = 78, AT_ONCE = 50, MANY = 16 };

struct turn {
    char *text;
    size_t length;
    short *codes;   /* of the replies */
    int replies;
    int ends;       /* which reply is the one to the end of a message; -1: none */
    bool begins;    /* holds a MAIL */
    bool tls_after; /* STARTTLS */
};

enum stage { IDLE, OPENING, WORKING, LEAVING };

struct session {
    enum stage stage;
    int number;              /* of the turn within its stage */
    const struct turn *turn;
    int replies;             /* that have come to it */
    int fd;                  /* -1: not connected */
    const char *out;         /* what is still to be written */
    size_t left;
    double begun, next_begun;
    int code, column;        /* of the reply line that is being read */
    bool more;               /* ... and it is not the last one of its reply */
    bool handshaking;
#ifdef WITH_TLS
    SSL *ssl;
#endif
};

/* The options. */
static int port, sessions = 10, recipients = 1, pids;
static pid_t pid[MANY];
static size_t size = 1024, piece;
static double warm = 0.5, seconds = 1, rate, pause_;
static enum { LOCKSTEP, PIPELINED, BDAT, HELLO } mode;
static enum { NONE, STARTTLS, IMPLICIT } tls;
static bool reconnect, hold;

static struct turn opening[4], *unit, chained, leaving;
static int openings, units;

static struct session *all;
static int epoll, timer = -1;
static int idle, opening_now, unopened; /* how many sessions are in that state */
static double phase_end;
static double due; /* when the next unit of the open loop begins */

static double *latency;
static long done, room;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static double clock_seconds(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        die("a process to be measured has gone");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now(void) {
    return clock_seconds(CLOCK_MONOTONIC);
}

/* Processor time of the measured processes, all threads, user and system, to the nanosecond. */
static double cpu(void) {
    double total = 0;
    for (int i = 0; i < pids; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(pid[i], &clock) != 0)
            die("a process to be measured has gone");
        total += clock_seconds(clock);
    }
    return total;
}

static void record(double took) {
    if (done == room) {
        room = room ? 2 * room : 1 << 16;
        latency = realloc(latency, (size_t)room * sizeof *latency);
    }
    latency[done++] = took;
}

/* ---- The transport: a socket, or TLS over it. Both return -1 if they would block. */

static ssize_t blocked_or_die(void) {
    if (errno != EAGAIN)
        die("the server closed the connection");
    return -1;
}

#ifdef WITH_TLS
static SSL_CTX *context;

static ssize_t tls_result(struct session *s, int result) {
    if (result > 0)
        return result;
    int error = SSL_get_error(s->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -1;
    ERR_print_errors_fp(stderr);
    die("TLS failed, or the server closed the connection");
}
#endif

static ssize_t read_some(struct session *s, char *buffer, size_t length) {
#ifdef WITH_TLS
    if (s->ssl)
        return tls_result(s, SSL_read(s->ssl, buffer, (int)length));
#endif
    ssize_t received = recv(s->fd, buffer, length, 0);
    if (received == 0)
        die("the server closed the connection");
    return received < 0 ? blocked_or_die() : received;
}

static ssize_t write_some(struct session *s, const char *text, size_t length) {
#ifdef WITH_TLS
    if (s->ssl)
        return tls_result(s, SSL_write(s->ssl, text, (int)length));
#endif
    ssize_t sent = send(s->fd, text, length, MSG_NOSIGNAL);
    return sent < 0 ? blocked_or_die() : sent;
}

static void begin_tls(struct session *s) {
#ifdef WITH_TLS
    s->ssl = SSL_new(context);
    SSL_set_fd(s->ssl, s->fd);
    SSL_set_connect_state(s->ssl);
    s->handshaking = true;
#else
    (void)s;
#endif
}

/* Whether the handshake, if one is under way, is done. */
static bool established(struct session *s) {
#ifdef WITH_TLS
    if (s->handshaking && tls_result(s, SSL_do_handshake(s->ssl)) > 0)
        s->handshaking = false;
#endif
    return !s->handshaking;
}

static void disconnect(struct session *s) {
#ifdef WITH_TLS
    if (s->ssl) {
        SSL_shutdown(s->ssl);
        SSL_free(s->ssl);
        s->ssl = NULL;
    }
#endif
    close(s->fd);
    s->fd = -1;
}

static void connect_to_server(struct session *s) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS))
        die("cannot connect");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = s};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &event) < 0)
        die("epoll");
    if (tls == IMPLICIT)
        begin_tls(s);
}

/* ---- The dialogue. */

static void flush(struct session *s) {
    while (s->left > 0) {
        ssize_t sent = write_some(s, s->out, piece && piece < s->left ? piece : s->left);
        if (sent < 0)
            return;
        s->out += sent;
        s->left -= (size_t)sent;
        if (piece)
            return; /* the next one when it is this session's turn again */
    }
}

static void take(struct session *s, enum stage stage, int number, const struct turn *turn) {
    s->stage = stage;
    s->number = number;
    s->turn = turn;
    s->replies = 0;
    s->out = turn->text;
    s->left = turn->length;
    if (turn->begins && !reconnect)
        *(turn == &chained ? &s->next_begun : &s->begun) = now();
}

static void open_session(struct session *s) {
    idle--;
    opening_now++;
    s->begun = now();
    take(s, OPENING, 0, &opening[0]);
    connect_to_server(s);
}

static void rest(struct session *s) {
    s->stage = IDLE;
    idle++;
}

static bool phase_goes_on(void) {
    return now() < phase_end;
}

static void work(struct session *s) {
    if (units == 0)
        take(s, LEAVING, 0, &leaving);
    else
        take(s, WORKING, 0, &unit[0]);
}

/* Go on after the last reply to a turn. */
static void advance(struct session *s) {
    int next = s->number + 1;
    switch (s->stage) {
    case OPENING:
        if (s->turn->tls_after) {
            begin_tls(s);
            established(s); /* says the first word */
        }
        if (next < openings) {
            take(s, OPENING, next, &opening[next]);
            return;
        }
        opening_now--;
        if (reconnect || (!hold && phase_goes_on()))
            work(s);
        else
            rest(s);
        return;
    case WORKING:
        if (mode == PIPELINED && next < units && !reconnect && phase_goes_on())
            take(s, WORKING, 0, &chained); /* after it the envelope is through, as after the first turn */
        else if (next < units)
            take(s, WORKING, next, &unit[next]);
        else if (reconnect)
            take(s, LEAVING, 0, &leaving);
        else if (phase_goes_on())
            work(s);
        else
            rest(s);
        return;
    case LEAVING:
        disconnect(s);
        rest(s);
        if (rate == 0 && phase_goes_on())
            open_session(s);
        return;
    case IDLE:
        die("a reply to nothing");
    }
}

static void reply(struct session *s) {
    if (s->code != s->turn->codes[s->replies]) {
        fprintf(stderr, "load: %d where %d was expected\n", s->code, s->turn->codes[s->replies]);
        exit(1);
    }
    if (s->replies == s->turn->ends) {
        record(now() - s->begun);
        s->begun = s->turn == &chained ? s->next_begun : s->begun;
    }
    if (++s->replies == s->turn->replies)
        advance(s);
}

/* Read all replies that have arrived. */
static void receive(struct session *s) {
    char buffer[65536];
    ssize_t received;
    do {
        if ((received = read_some(s, buffer, sizeof buffer)) < 0)
            return;
        for (ssize_t i = 0; i < received; i++) {
            if (s->column < 3)
                s->code = 10 * s->code + buffer[i] - '0';
            else if (s->column == 3)
                s->more = buffer[i] == '-';
            s->column++;
            if (buffer[i] != '\n')
                continue;
            if (!s->more)
                reply(s);
            s->code = s->column = 0;
            if (s->fd < 0 || s->handshaking)
                return;
        }
        /* A socket that gave less than was asked for is empty; a TLS record is no sign of that. */
    } while (tls != NONE || received == sizeof buffer);
}

static void handle(struct session *s) {
    if (!established(s))
        return;
    receive(s);
    if (s->fd >= 0 && !s->handshaking && !piece)
        flush(s);
}

/* ---- The turns. */

static struct turn make_turn(const char *text, int count, const short *codes, int ends) {
    struct turn turn = {.text = strdup(text), .length = strlen(text), .replies = count, .ends = ends};
    turn.codes = malloc((size_t)count * sizeof *codes);
    memcpy(turn.codes, codes, (size_t)count * sizeof *codes);
    turn.begins = strncmp(text, "MAIL", 4) == 0;
    turn.tls_after = strcmp(text, "STARTTLS\r\n") == 0;
    return turn;
}

static struct turn join(const struct turn *a, const struct turn *b) {
    struct turn turn = *a;
    turn.length = a->length + b->length;
    turn.text = malloc(turn.length);
    memcpy(turn.text, a->text, a->length);
    memcpy(turn.text + a->length, b->text, b->length);
    turn.replies = a->replies + b->replies;
    turn.codes = malloc((size_t)turn.replies * sizeof *turn.codes);
    memcpy(turn.codes, a->codes, (size_t)a->replies * sizeof *turn.codes);
    memcpy(turn.codes + a->replies, b->codes, (size_t)b->replies * sizeof *turn.codes);
    turn.ends = a->ends >= 0 ? a->ends : b->ends >= 0 ? a->replies + b->ends : -1;
    turn.begins = a->begins || b->begins;
    return turn;
}

/* A message of SIZE octets, with FIRST in front of it and LAST after it. */
static struct turn make_body(const char *first, const char *last) {
    static const char header[] = "From: sender@example.com\r\nTo: demo@example.com\r\nSubject: load\r\n\r\n";
    size_t length = strlen(first), end = length + size, tail = strlen(last);
    struct turn turn = make_turn("", 1, (short[]){250}, 0);
    char *text = turn.text = malloc(end + tail);
    memcpy(text, first, length);
    memcpy(text + length, header, sizeof header - 1);
    length += sizeof header - 1;
    while (length < end) {
        size_t left = end - length;
        size_t line = left <= LINE ? left : left == LINE + 1 ? LINE - 1 : LINE; /* the last needs two octets */
        memset(text + length, 'x', line - 2);
        memcpy(text + length + line - 2, "\r\n", 2);
        length += line;
    }
    memcpy(text + end, last, tail);
    turn.length = end + tail;
    return turn;
}

static void write_script(void) {
    static const short ready[] = {220}, ok[] = {250}, go_ahead[] = {354}, bye[] = {221};
    struct turn hello = make_turn("EHLO load.example\r\n", 1, ok, -1);
    char text[64];

    opening[openings++] = make_turn("", 1, ready, -1);
    if (tls != IMPLICIT || mode != HELLO)
        opening[openings++] = hello;
    if (tls == STARTTLS)
        opening[openings++] = make_turn("STARTTLS\r\n", 1, ready, -1);
    if (tls == STARTTLS && mode != HELLO)
        opening[openings++] = hello;
    leaving = make_turn("QUIT\r\n", 1, bye, mode == HELLO ? 0 : -1);
    if (mode == HELLO)
        return;

    unit = calloc((size_t)recipients + 3, sizeof *unit);
    unit[units++] = make_turn("MAIL FROM:<sender@example.com>\r\n", 1, ok, -1);
    for (int i = 0; i < recipients; i++) {
        snprintf(text, sizeof text, i ? "RCPT TO:<demo+%d@example.com>\r\n" : "RCPT TO:<demo@example.com>\r\n", i);
        unit[units++] = make_turn(text, 1, ok, -1);
    }
    if (mode == BDAT) {
        snprintf(text, sizeof text, "BDAT %zu LAST\r\n", size);
        unit[units++] = make_body(text, "");
    } else {
        unit[units++] = make_turn("DATA\r\n", 1, go_ahead, -1);
        unit[units++] = make_body("", ".\r\n");
    }
    if (mode == LOCKSTEP)
        return;
    int joined = mode == BDAT ? units : units - 1;
    for (int i = 1; i < joined; i++)
        unit[0] = join(&unit[0], &unit[i]);
    if (mode == PIPELINED) {
        unit[1] = unit[units - 1];
        chained = join(&unit[1], &unit[0]);
    }
    units -= joined - 1;
}

/* ---- The phases. */

static void start_timer(double interval) {
    struct timespec period = {(time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9)};
    due = now() + interval;
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) < 0 ||
        timerfd_settime(timer, 0, &(struct itimerspec){period, period}, NULL) < 0)
        die("timer");
}

/* The timer has run out so many times: begin as many units, or let as many slow clients send. */
static void tick(double interval) {
    static int turn;
    uint64_t times;
    if (read(timer, &times, sizeof times) != sizeof times)
        return;
    for (; times > 0; times--, due += interval) {
        struct session *s = &all[turn++ % sessions];
        if (piece) {
            if (s->fd >= 0)
                flush(s);
        } else if (phase_goes_on()) {
            if (s->stage != IDLE)
                die("more units are open than --sessions");
            open_session(s);
            s->begun = due;
        }
    }
}

static void run_phase(double length) {
    phase_end = now() + length;
    double interval = rate > 0 ? 1 / rate : pause_ / sessions;
    for (int i = 0; i < sessions && rate == 0; i++) {
        struct session *s = &all[i];
        if (s->fd >= 0 && phase_goes_on()) {
            idle--;
            work(s);
            if (!piece)
                flush(s);
        }
    }
    while (idle < sessions || unopened > 0 || (rate > 0 && phase_goes_on())) {
        while (unopened > 0 && opening_now < AT_ONCE) {
            open_session(&all[sessions - unopened]);
            unopened--;
        }
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr)
                handle(events[i].data.ptr);
            else
                tick(interval);
        }
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which of the words it is. */
static unsigned choose(const char *word, const char *const *words) {
    for (unsigned i = 0; words[i]; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    fprintf(stderr, "load: what is %s?\n", word);
    exit(2);
}

static void read_options(int argc, char **argv) {
    static const char *const modes[] = {"lockstep", "pipelined", "bdat", "hello", NULL};
    static const char *const kinds[] = {"none", "starttls", "implicit", NULL};
    static const struct option options[] = {
        {"port", 1, 0, 'P'},     {"pid", 1, 0, 'i'},   {"mode", 1, 0, 'm'},    {"sessions", 1, 0, 's'},
        {"size", 1, 0, 'b'},     {"rate", 1, 0, 'a'},  {"seconds", 1, 0, 't'}, {"recipients", 1, 0, 'r'},
        {"tls", 1, 0, 'e'},      {"warm", 1, 0, 'w'},  {"piece", 1, 0, 'p'},   {"pause", 1, 0, 'u'},
        {"reconnect", 0, 0, 'c'}, {"hold", 0, 0, 'h'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'P': port = atoi(optarg); break;
        case 'i':
            if (pids == MANY)
                die("too many processes");
            pid[pids++] = atoi(optarg);
            break;
        case 'm': mode = choose(optarg, modes); break;
        case 's': sessions = atoi(optarg); break;
        case 'b': size = (size_t)atol(optarg); break;
        case 'a': rate = atof(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'r': recipients = atoi(optarg); break;
        case 'e': tls = choose(optarg, kinds); break;
        case 'w': warm = atof(optarg); break;
        case 'p': piece = (size_t)atol(optarg); break;
        case 'u': pause_ = atof(optarg); break;
        case 'c': reconnect = true; break;
        case 'h': hold = true; break;
        default: exit(2);
        }
    }
    reconnect |= rate > 0;
    if (port < 1 || sessions < 1 || recipients < 1 || size < 512 || (piece && pause_ <= 0))
        die("--port is needed, at least one session and recipient, 512 octets, and --pause with --piece");
    if (mode == HELLO && !reconnect && !hold)
        die("--mode hello needs --reconnect or --hold");
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    if (tls != NONE) {
#ifdef WITH_TLS
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
#else
        die("built without TLS");
#endif
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    alarm((unsigned)(warm + seconds) + STALLED);
    write_script();
    epoll = epoll_create1(0);
    all = calloc((size_t)sessions, sizeof *all);
    for (int i = 0; i < sessions; i++)
        all[i].fd = -1;
    idle = sessions;
    unopened = rate > 0 ? 0 : sessions;
    if (rate > 0 || piece)
        start_timer(rate > 0 ? 1 / rate : pause_ / sessions);

    if (hold) {
        run_phase(0);
        puts("ready");
        fflush(stdout);
        char buffer[64];
        alarm(0);
        while (read(STDIN_FILENO, buffer, sizeof buffer) > 0)
            ;
        return 0;
    }
    if (warm > 0 || !reconnect)
        run_phase(warm);
    done = 0;
    unopened = reconnect && rate == 0 ? sessions : 0;
    double start = now(), used = cpu(), own = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    run_phase(seconds);
    used = cpu() - used;
    double took = now() - start;
    own = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - own;
    if (done == 0)
        die("nothing was done");
    qsort(latency, (size_t)done, sizeof *latency, compare);
    printf("{\"messages\": %ld, \"seconds\": %.6f, \"cpu\": %.9f, \"own\": %.6f, "
           "\"p50\": %.6f, \"p99\": %.6f, \"most\": %.6f}\n",
           done, took, used, own, latency[done / 2], latency[done * 99 / 100], latency[done - 1]);
    return 0;
}
