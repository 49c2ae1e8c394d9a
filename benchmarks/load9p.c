/* load9p - closed-loop load generator for 9P2000 / 9P2000.u / 9P2000.L servers over TCP.
 *
 *   cc -O2 -Wall -o load9p load9p.c
 *
 *   load9p [-a 127.0.0.1] [-p 5640] [-v 9P2000|9P2000.u|9P2000.L] [-M msize] [-u uname] [-U n_uname] [-A
 * aname]
 *          [-c conns] [-d depth] [-t seconds] [-w warmup] -m MIX -f FILE [-W WFILE] [-D data] [-n count] [-o
 * off] [-j] [-L label]
 *
 *   -c N  TCP connections, each with its own session       (default 1)
 *   -d D  slots a connection: D operations always in flight on it, each slot with its own tag and fids
 *         (default 1)
 *   -m    mix of operations with weights, e.g.  read:1   or   read:80,stat:15,walk:4,write:1
 *           read    Tread(off, count) on a fid the slot opened once (1 RPC)
 *           walk    Twalk to FILE + Topen + Tread + Tclunk (4 RPCs, one after another in the slot)
 *           stat    Tstat (Tgetattr in .L) of FILE (1 RPC)
 *           write   Twrite of DATA at offset 0 on a fid of WFILE the slot opened once for writing (1 RPC)
 *           create  the same, each Twrite with a number of its own: %0% in DATA is the number, and of the
 *                   %M% in it the first is its rest by M, the next that of the quotient, and so on (1 RPC)
 *         version/attach costs are not measured.
 *   -f    path read, walked and statted; -W path written (default FILE); -D data written (default "start")
 *   -n    bytes asked by Tread (default 512);  -o its offset (default 0)
 *   -j    one JSON line instead of text.
 *
 * An operation's latency runs from queueing its first RPC to the arrival of its last reply.  Rerror replies
 * are counted ("errors") and the slot goes on; a short/odd reply or a closed connection ends the run with
 * status 1. One thread, epoll, TCP_NODELAY; the histogram has 1/64 relative resolution.  Exit 0 when the run
 * completed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
enum { READ, WALK, STAT, WRITE, CREATE, NOP };
static const char *opname[] = {"read", "walk", "stat", "write", "create"};
static const char *addr = "127.0.0.1", *ver = "9P2000", *uname_ = "root", *aname = "", *file_, *wfile,
                  *data = "start", *label = "";
static int port = 5640, nconn = 1, depth = 1, json, dotu, dotl;
static double secs = 5, warm = 1;
static u32 msize = 8192, cnt = 512, nuname = 0;
static u64 off;
static int weight[NOP], totw;
#define HB (64 * 64)
static u64 hist[NOP + 1][HB], nops[NOP + 1], nrpc, nerr, bytes, maxns[NOP + 1], sumns[NOP + 1];
static char firsterr[200];
static int hidx(u64 v) {
    if (v < 64)
        return v;
    int e = 63 - __builtin_clzll(v);
    return (e - 5) * 64 + ((v >> (e - 6)) & 63);
}
static u64 hval(int i) {
    if (i < 64)
        return i;
    int e = i / 64 + 5;
    return (1ull << e) + ((u64)(i % 64) << (e - 6)) + (1ull << (e - 6)) / 2;
}
static u64 now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static void die(const char *m) {
    fprintf(stderr, "load9p: %s%s%s\n", m, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}
typedef struct {
    int op, step;
    u64 t0;
    u32 rfid, sfid, wfid, tfid;
} Slot;
typedef struct {
    int fd;
    u8 *in;
    u32 inn, incap;
    u8 *out;
    u32 outn, outoff, outcap;
    Slot *s;
    int wantw;
} Conn;
static Conn *conns;
static int ep;
static u8 mb[65536];
static u32 mn;
static void b1(u8 v) {
    mb[mn++] = v;
}
static void b2(u16 v) {
    memcpy(mb + mn, &v, 2);
    mn += 2;
}
static void b4(u32 v) {
    memcpy(mb + mn, &v, 4);
    mn += 4;
}
static void b8(u64 v) {
    memcpy(mb + mn, &v, 8);
    mn += 8;
}
static void bs(const char *s) {
    u16 n = strlen(s);
    b2(n);
    memcpy(mb + mn, s, n);
    mn += n;
}
static void begin(u8 ty, u16 tag) {
    mn = 0;
    b4(0);
    b1(ty);
    b2(tag);
}
static void put(Conn *c) {
    memcpy(mb, &mn, 4);
    if (c->outn + mn > c->outcap) {
        c->outcap = (c->outn + mn) * 2;
        c->out = realloc(c->out, c->outcap);
    }
    memcpy(c->out + c->outn, mb, mn);
    c->outn += mn;
}
static void bwalk(u16 tag, u32 fid, u32 nf, const char *path) {
    char tmp[4096];
    snprintf(tmp, sizeof tmp, "%s", path);
    char *v[16];
    int n = 0;
    for (char *p = strtok(tmp, "/"); p; p = strtok(0, "/"))
        if (n < 16)
            v[n++] = p;
    begin(110, tag);
    b4(fid);
    b4(nf);
    b2(n);
    for (int i = 0; i < n; i++)
        bs(v[i]);
}
static int pathlen(const char *path) {
    int n = 0;
    char tmp[4096];
    snprintf(tmp, sizeof tmp, "%s", path);
    for (char *p = strtok(tmp, "/"); p; p = strtok(0, "/"))
        n++;
    return n;
}
static void bopen(u16 tag, u32 fid, int w) {
    if (dotl) {
        begin(12, tag);
        b4(fid);
        b4(w ? 1 : 0);
    } else {
        begin(112, tag);
        b4(fid);
        b1(w ? 1 : 0);
    }
}
static void bread(u16 tag, u32 fid) {
    begin(116, tag);
    b4(fid);
    b8(off);
    b4(cnt);
}
static void bstat(u16 tag, u32 fid) {
    if (dotl) {
        begin(24, tag);
        b4(fid);
        b8(0x7ff);
    } else {
        begin(124, tag);
        b4(fid);
    }
}
static void bwrite(u16 tag, u32 fid, const char *text) {
    u32 n = strlen(text);
    begin(118, tag);
    b4(fid);
    b8(0);
    b4(n);
    memcpy(mb + mn, text, n);
    mn += n;
}
static const char *numbered(void) {
    static char text[8192];
    static unsigned number;
    unsigned rest = number;
    char *to = text;
    for (const char *p = data; *p && to < text + sizeof text - 16;) {
        char *end;
        unsigned m;
        if (*p != '%' || (m = strtoul(p + 1, &end, 10), *end != '%')) {
            *to++ = *p++;
            continue;
        }
        to += sprintf(to, "%u", m ? rest % m : number);
        rest = m ? rest / m : rest;
        p = end + 1;
    }
    *to = 0;
    number++;
    return text;
}
static void bclunk(u16 tag, u32 fid) {
    begin(120, tag);
    b4(fid);
}
static u8 rb[1 << 20];
static void rdn(int fd, u8 *b, u32 n) {
    while (n) {
        ssize_t k = read(fd, b, n);
        if (k <= 0)
            die("connection closed in setup");
        b += k;
        n -= k;
    }
}
static u32 sync_rpc(int fd, int want) {
    memcpy(mb, &mn, 4);
    u32 o = 0;
    while (o < mn) {
        ssize_t k = write(fd, mb + o, mn - o);
        if (k <= 0)
            die("write");
        o += k;
    }
    u32 n;
    rdn(fd, rb, 4);
    memcpy(&n, rb, 4);
    if (n < 7 || n > sizeof rb)
        die("bad reply size");
    rdn(fd, rb + 4, n - 4);
    if (rb[4] != want) {
        errno = 0;
        if (rb[4] == 107) {
            u16 l;
            memcpy(&l, rb + 7, 2);
            fprintf(stderr, "load9p: setup: server says: %.*s\n", l, rb + 9);
        } else if (rb[4] == 7) {
            u32 e;
            memcpy(&e, rb + 7, 4);
            fprintf(stderr, "load9p: setup: Rlerror %u (%s)\n", e, strerror(e));
        } else
            fprintf(stderr, "load9p: setup: got type %d, wanted %d\n", rb[4], want);
        exit(1);
    }
    return n;
}
static void walkck(int fd, const char *p) {
    sync_rpc(fd, 111);
    u16 n;
    memcpy(&n, rb + 7, 2);
    if (n != pathlen(p)) {
        errno = 0;
        fprintf(stderr, "load9p: walk to %s stopped after %d names\n", p, n);
        exit(1);
    }
}
static void setup(Conn *c) {
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, addr, &sa.sin_addr);
    if (connect(c->fd, (void *)&sa, sizeof sa) < 0)
        die("connect");
    int one = 1;
    setsockopt(c->fd, 6, TCP_NODELAY, &one, 4);
    begin(100, 0xffff);
    b4(msize);
    bs(ver);
    sync_rpc(c->fd, 101);
    u32 ms;
    memcpy(&ms, rb + 7, 4);
    u16 vl;
    memcpy(&vl, rb + 11, 2);
    if (vl != strlen(ver) || memcmp(rb + 13, ver, vl)) {
        fprintf(stderr, "load9p: asked %s, server speaks %.*s\n", ver, vl, rb + 13);
        exit(1);
    }
    if (cnt > ms - 24)
        cnt = ms - 24;
    begin(104, 1);
    b4(0);
    b4(0xffffffff);
    bs(uname_);
    bs(aname);
    if (dotu || dotl)
        b4(nuname);
    sync_rpc(c->fd, 105);
    c->s = calloc(depth, sizeof(Slot));
    for (int i = 0; i < depth; i++) {
        Slot *s = &c->s[i];
        s->rfid = 10 + i * 4;
        s->sfid = 11 + i * 4;
        s->wfid = 12 + i * 4;
        s->tfid = 13 + i * 4;
        if (weight[READ]) {
            bwalk(1, 0, s->rfid, file_);
            walkck(c->fd, file_);
            bopen(1, s->rfid, 0);
            sync_rpc(c->fd, dotl ? 13 : 113);
        }
        if (weight[STAT]) {
            bwalk(1, 0, s->sfid, file_);
            walkck(c->fd, file_);
        }
        if (weight[WRITE] || weight[CREATE]) {
            bwalk(1, 0, s->wfid, wfile);
            walkck(c->fd, wfile);
            bopen(1, s->wfid, 1);
            sync_rpc(c->fd, dotl ? 13 : 113);
        }
    }
    c->incap = msize * 2 + 65536;
    c->in = malloc(c->incap);
    c->outcap = 65536;
    c->out = malloc(c->outcap);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}
static u32 rng = 12345;
static u32 rnd(void) {
    rng ^= rng << 13;
    rng ^= rng >> 17;
    rng ^= rng << 5;
    return rng;
}
static void step(Conn *c, int i) {
    Slot *s = &c->s[i];
    u16 tag = i;
    switch (s->op) {
    case READ:
        bread(tag, s->rfid);
        break;
    case STAT:
        bstat(tag, s->sfid);
        break;
    case WRITE:
        bwrite(tag, s->wfid, data);
        break;
    case CREATE:
        bwrite(tag, s->wfid, numbered());
        break;
    case WALK:
        if (s->step == 0)
            bwalk(tag, 0, s->tfid, file_);
        else if (s->step == 1)
            bopen(tag, s->tfid, 0);
        else if (s->step == 2)
            bread(tag, s->tfid);
        else
            bclunk(tag, s->tfid);
        break;
    }
    put(c);
}
static void next(Conn *c, int i) {
    Slot *s = &c->s[i];
    int r = rnd() % totw, o = 0;
    while (r >= weight[o])
        r -= weight[o++];
    s->op = o;
    s->step = 0;
    s->t0 = now();
    step(c, i);
}
static int measuring;
static void done(Conn *c, int i, u64 t) {
    Slot *s = &c->s[i];
    if (measuring) {
        u64 d = t - s->t0;
        int k[2] = {s->op, NOP};
        for (int j = 0; j < 2; j++) {
            hist[k[j]][hidx(d)]++;
            nops[k[j]]++;
            sumns[k[j]] += d;
            if (d > maxns[k[j]])
                maxns[k[j]] = d;
        }
    }
    next(c, i);
}
static void reply(Conn *c, u8 *m, u32 n, u64 t) {
    u16 tag;
    memcpy(&tag, m + 5, 2);
    if (tag >= depth) {
        errno = 0;
        die("reply with a tag that was not sent");
    }
    Slot *s = &c->s[tag];
    if (measuring) {
        nrpc++;
        bytes += n;
    }
    int err = m[4] == 107 || m[4] == 7;
    if (err) {
        if (measuring)
            nerr++;
        if (!firsterr[0]) {
            if (m[4] == 107) {
                u16 l;
                memcpy(&l, m + 7, 2);
                snprintf(firsterr, sizeof firsterr, "%.*s", l, m + 9);
            } else {
                u32 e;
                memcpy(&e, m + 7, 4);
                snprintf(firsterr, sizeof firsterr, "errno %u", e);
            }
        }
    } else {
        static const u8 wl[] = {111, 113, 117, 121};
        int want = s->op == READ            ? 117
                   : s->op == STAT          ? (dotl ? 25 : 125)
                   : s->op == WRITE         ? 119
                   : s->op == CREATE        ? 119
                   : (s->step == 1 && dotl) ? 13
                                            : wl[s->step];
        if (m[4] != want) {
            errno = 0;
            fprintf(stderr, "load9p: op %s step %d: reply type %d, wanted %d\n", opname[s->op], s->step, m[4],
                    want);
            exit(1);
        }
    }
    if (s->op == WALK) {
        if (err && s->step == 0) {
            done(c, tag, t);
            return;
        }
        if (err && s->step < 3)
            s->step = 2;
        if (s->step < 3) {
            s->step++;
            step(c, tag);
            return;
        }
    }
    done(c, tag, t);
}
static void flushc(Conn *c) {
    while (c->outoff < c->outn) {
        ssize_t k = write(c->fd, c->out + c->outoff, c->outn - c->outoff);
        if (k < 0) {
            if (errno == EAGAIN)
                break;
            die("write");
        }
        c->outoff += k;
    }
    if (c->outoff == c->outn)
        c->outoff = c->outn = 0;
    else if (c->outoff > 65536) {
        memmove(c->out, c->out + c->outoff, c->outn - c->outoff);
        c->outn -= c->outoff;
        c->outoff = 0;
    }
    int w = c->outn > 0;
    if (w != c->wantw) {
        struct epoll_event e = {.events = EPOLLIN | (w ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
        c->wantw = w;
    }
}
static u64 pct(int k, double p) {
    u64 want = nops[k] * p, a = 0;
    for (int i = 0; i < HB; i++) {
        a += hist[k][i];
        if (a > want)
            return hval(i);
    }
    return maxns[k];
}
int main(int ac, char **av) {
    int o;
    char *mix = 0;
    signal(SIGPIPE, SIG_IGN);
    while ((o = getopt(ac, av, "a:p:v:M:u:U:A:c:d:t:w:m:f:W:D:n:o:jL:")) > 0)
        switch (o) {
        case 'a':
            addr = optarg;
            break;
        case 'p':
            port = atoi(optarg);
            break;
        case 'v':
            ver = optarg;
            break;
        case 'M':
            msize = strtoul(optarg, 0, 0);
            break;
        case 'u':
            uname_ = optarg;
            break;
        case 'U':
            nuname = strtoul(optarg, 0, 0);
            break;
        case 'A':
            aname = optarg;
            break;
        case 'c':
            nconn = atoi(optarg);
            break;
        case 'd':
            depth = atoi(optarg);
            break;
        case 't':
            secs = atof(optarg);
            break;
        case 'w':
            warm = atof(optarg);
            break;
        case 'm':
            mix = strdup(optarg);
            break;
        case 'f':
            file_ = optarg;
            break;
        case 'W':
            wfile = optarg;
            break;
        case 'D':
            data = optarg;
            break;
        case 'n':
            cnt = atoi(optarg);
            break;
        case 'o':
            off = strtoull(optarg, 0, 0);
            break;
        case 'j':
            json = 1;
            break;
        case 'L':
            label = optarg;
            break;
        default:
            fprintf(stderr, "usage: see the top of load9p.c\n");
            return 2;
        }
    if (!mix || !file_ || nconn < 1 || depth < 1 || depth > 60000) {
        fprintf(stderr, "usage: load9p -p PORT -m read:1 -f path ... (see the top of load9p.c)\n");
        return 2;
    }
    if (!wfile)
        wfile = file_;
    char *mixs = strdup(mix);
    for (char *p = strtok(mix, ","); p; p = strtok(0, ",")) {
        char nm[16];
        int w = 1, k;
        if (sscanf(p, "%15[a-z]:%d", nm, &w) < 1)
            return 2;
        for (k = 0; k < NOP; k++)
            if (!strcmp(nm, opname[k]))
                break;
        if (k == NOP) {
            fprintf(stderr, "load9p: no op %s\n", nm);
            return 2;
        }
        weight[k] = w;
        totw += w;
    }
    dotu = !strcmp(ver, "9P2000.u");
    dotl = !strcmp(ver, "9P2000.L");
    ep = epoll_create1(0);
    conns = calloc(nconn, sizeof(Conn));
    for (int i = 0; i < nconn; i++) {
        setup(&conns[i]);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &conns[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &e);
    }
    u64 t0 = now(), tm = t0 + warm * 1e9, te = tm + secs * 1e9, ts = 0;
    for (int i = 0; i < nconn; i++) {
        for (int j = 0; j < depth; j++)
            next(&conns[i], j);
        flushc(&conns[i]);
    }
    struct epoll_event ev[256];
    u64 t = t0;
    u64 lastrpc = t0;
    while ((t = now()) < te) {
        if (!measuring && t >= tm) {
            measuring = 1;
            ts = t;
        }
        int n = epoll_wait(ep, ev, 256, 100);
        t = now();
        if (n == 0 && t - lastrpc > 10000000000ull) {
            errno = 0;
            die("no reply for 10 s");
        }
        for (int i = 0; i < n; i++) {
            Conn *c = ev[i].data.ptr;
            lastrpc = t;
            if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                ssize_t k = read(c->fd, c->in + c->inn, c->incap - c->inn);
                if (k == 0) {
                    errno = 0;
                    die("server closed the connection");
                }
                if (k < 0 && errno != EAGAIN)
                    die("read");
                if (k > 0)
                    c->inn += k;
                u32 p = 0;
                t = now();
                while (c->inn - p >= 4) {
                    u32 m;
                    memcpy(&m, c->in + p, 4);
                    if (m < 7 || m > c->incap) {
                        errno = 0;
                        die("bad reply size");
                    }
                    if (c->inn - p < m)
                        break;
                    reply(c, c->in + p, m, t);
                    p += m;
                }
                memmove(c->in, c->in + p, c->inn - p);
                c->inn -= p;
            }
            flushc(c);
        }
    }
    double el = (t - ts) / 1e9;
    if (json)
        printf("{\"label\":\"%s\",\"mix\":\"%s\",\"ver\":\"%s\",\"conns\":%d,\"depth\":%d,\"secs\":%.2f,"
               "\"ops_s\":%.0f,\"rpc_s\":%.0f,\"MBs_in\":%.2f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%."
               "1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"errors\":%llu}\n",
               label, mixs, ver, nconn, depth, el, nops[NOP] / el, nrpc / el, bytes / el / 1e6,
               pct(NOP, .5) / 1e3, pct(NOP, .9) / 1e3, pct(NOP, .99) / 1e3, pct(NOP, .999) / 1e3,
               maxns[NOP] / 1e3, (unsigned long long)nerr);
    else {
        printf("%s%smix %s  %s  conns %d depth %d  %.2fs: %.0f ops/s  %.0f rpc/s  errors %llu%s%s\n", label,
               *label ? "  " : "", mixs, ver, nconn, depth, el, nops[NOP] / el, nrpc / el,
               (unsigned long long)nerr, *firsterr ? "  first: " : "", firsterr);
        for (int k = 0; k <= NOP; k++)
            if (nops[k] && (k < NOP || 1))
                printf("  %-6s %9.0f/s  mean %8.1f  p50 %8.1f  p90 %8.1f  p99 %8.1f  p99.9 %8.1f  max %8.1f "
                       "us\n",
                       k < NOP ? opname[k] : "all", nops[k] / el, sumns[k] / 1e3 / nops[k], pct(k, .5) / 1e3,
                       pct(k, .9) / 1e3, pct(k, .99) / 1e3, pct(k, .999) / 1e3, maxns[k] / 1e3);
    }
    return 0;
}
