/*
 * Latency at a steady rate, measured open loop: a question goes out when its time has come, however many answers are
 * still missing, so a server that stops for a moment is seen by every question of that moment.
 *
 *   probe HOST PORT FILE RATE SECONDS WARMUP_SECONDS
 *
 * FILE holds a name and a type (A or AAAA) a line and is read over and over. Eight connected sockets take turns. Each
 * latency is kept and sorted: percentiles are exact, none comes from a histogram. It runs from the moment the question
 * was handed to the kernel to the moment the answer was read; `lateSendUs` tells how much the probe itself was late at
 * worst, a sign of a crowded machine. `clientDrops` are answers that reached the probe's sockets and found no room: the
 * probe was too slow, not the server. Those of the warm-up are in it.
 *
 * SIGTERM ends it before its time: it sends no more and waits for what is under way. Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS = 8, IDS = 65536, HEADER = 12 };
#define SECOND 1000000000LL
#define ANSWER_TIMEOUT (2 * SECOND)
/* Seconds of answers, so that a probe that is not scheduled for a while loses none of them. */
#define RECEIVE_BUFFER (8 << 20)

struct question {
  uint16_t length;
  uint8_t bytes[300];
};

static struct question *questions;
static size_t question_count;
static int64_t sent_at[SOCKETS][IDS]; /* 0: not waiting. */
static uint8_t counts_for[SOCKETS][IDS]; /* Sent after the warm-up. */
static uint32_t *latencies; /* ns */
static size_t latency_count, sent, rcodes[16], refused;
static volatile sig_atomic_t is_stopping;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * SECOND + t.tv_nsec;
}

static void read_questions(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) {
    perror(path);
    exit(1);
  }
  char name[256], type[16];
  size_t room = 0;
  while (fscanf(file, "%255s %15s", name, type) == 2) {
    if (question_count == room) questions = realloc(questions, (room = room ? room * 2 : 1024) * sizeof *questions);
    struct question *q = &questions[question_count++];
    memset(q, 0, sizeof *q);
    q->bytes[2] = 1; /* RD */
    q->bytes[5] = 1; /* QDCOUNT */
    uint8_t *to = q->bytes + HEADER;
    for (char *label = strtok(name, "."); label; label = strtok(NULL, ".")) {
      size_t n = strlen(label);
      *to++ = n;
      memcpy(to, label, n);
      to += n;
    }
    *to++ = 0;
    *to++ = 0;
    *to++ = strcmp(type, "AAAA") == 0 ? 28 : 1;
    *to++ = 0;
    *to++ = 1;
    q->length = to - q->bytes;
  }
  fclose(file);
  if (question_count == 0) {
    fprintf(stderr, "%s: no questions\n", path);
    exit(1);
  }
}

static void stop(int signal) {
  (void)signal;
  is_stopping = 1;
}

/* Only the privileged may have more than net.core.rmem_max. */
static void enlarge_receive_buffer(int fd) {
  int space = RECEIVE_BUFFER;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space) == 0) return;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &space, sizeof space);
}

/* What the kernel threw away because the socket's receive buffer was full. */
static size_t drops_of(int fd) {
  uint32_t values[SK_MEMINFO_VARS] = {0};
  socklen_t size = sizeof values;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &size) != 0) return 0;
  return values[SK_MEMINFO_DROPS];
}

static void print_rcodes(void) {
  static const char *const names[16] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
  const char *comma = "";
  printf("\"rcodes\":{");
  for (int i = 0; i < 16; i++) {
    if (rcodes[i] == 0) continue;
    if (names[i]) printf("%s\"%s\":%zu", comma, names[i], rcodes[i]);
    else printf("%s\"RCODE%d\":%zu", comma, i, rcodes[i]);
    comma = ",";
  }
  printf("}");
}

static void receive(int fd, int s) {
  uint8_t m[4096];
  for (;;) {
    ssize_t n = recv(fd, m, sizeof m, MSG_DONTWAIT);
    if (n < 0) return;
    int64_t at = now();
    if (n < HEADER) continue;
    int id = m[0] << 8 | m[1];
    if (sent_at[s][id] == 0) continue;
    int64_t took = at - sent_at[s][id];
    sent_at[s][id] = 0;
    if (!counts_for[s][id] || took > ANSWER_TIMEOUT) continue;
    rcodes[m[3] & 15]++;
    latencies[latency_count++] = took;
  }
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static double percentile(double p) {
  if (latency_count == 0) return 0;
  size_t index = p * (latency_count - 1) + 0.5;
  return latencies[index] / 1000.0;
}

int main(int argc, char **argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: probe HOST PORT FILE RATE SECONDS WARMUP_SECONDS\n");
    return 2;
  }
  read_questions(argv[3]);
  double rate = atof(argv[4]), seconds = atof(argv[5]), warmup = atof(argv[6]);
  size_t total = rate * (seconds + warmup), uncounted = rate * warmup;
  latencies = malloc((total + 1) * sizeof *latencies);
  prctl(PR_SET_TIMERSLACK, 1); /* The default of 50 µs would be seen as latency. */

  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  inet_pton(AF_INET, argv[1], &server.sin_addr);
  struct pollfd fds[SOCKETS];
  for (int s = 0; s < SOCKETS; s++) {
    fds[s].fd = socket(AF_INET, SOCK_DGRAM, 0);
    fds[s].events = POLLIN;
    enlarge_receive_buffer(fds[s].fd);
    if (connect(fds[s].fd, (struct sockaddr *)&server, sizeof server) != 0) {
      perror("connect");
      return 1;
    }
  }

  signal(SIGTERM, stop);
  double interval = SECOND / rate;
  int64_t start = now(), latest = 0, end = 0;
  for (;;) {
    int64_t t = now();
    while (sent < total && !is_stopping && t >= start + (int64_t)(sent * interval)) {
      int s = sent % SOCKETS;
      uint16_t id = sent / SOCKETS;
      struct question *q = &questions[sent % question_count];
      q->bytes[0] = id >> 8;
      q->bytes[1] = id;
      int64_t late = t - (start + (int64_t)(sent * interval));
      if (sent >= uncounted && late > latest) latest = late;
      counts_for[s][id] = sent >= uncounted;
      sent_at[s][id] = now();
      if (send(fds[s].fd, q->bytes, q->length, 0) < 0) refused++;
      sent++;
      t = now();
      /* Behind time the reading must not starve: the answers waiting would look slow. */
      receive(fds[s].fd, s);
    }
    if (is_stopping) {
      total = sent;
      if (uncounted > total) uncounted = total;
    }
    if (sent == total && end == 0) end = now() + ANSWER_TIMEOUT;
    if (end != 0 && (now() > end || latency_count == total - uncounted)) break;
    int64_t wait = (end != 0 ? end : start + (int64_t)(sent * interval)) - now();
    if (wait < 0) wait = 0;
    struct timespec timeout = {wait / SECOND, wait % SECOND};
    if (ppoll(fds, SOCKETS, &timeout, NULL) > 0)
      for (int s = 0; s < SOCKETS; s++)
        if (fds[s].revents) receive(fds[s].fd, s);
  }

  qsort(latencies, latency_count, sizeof *latencies, by_size);
  size_t counted = total - uncounted;
  double sum = 0;
  for (size_t i = 0; i < latency_count; i++) sum += latencies[i] / 1000.0;
  size_t drops = 0;
  for (int s = 0; s < SOCKETS; s++) drops += drops_of(fds[s].fd);
  printf("{\"sent\":%zu,\"received\":%zu,\"lost\":%zu,", counted, latency_count, counted - latency_count);
  print_rcodes();
  printf(",\"averageUs\":%.1f,\"p50Us\":%.1f,\"p90Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f,",
         latency_count ? sum / latency_count : 0, percentile(0.5), percentile(0.9), percentile(0.99), percentile(0.999),
         percentile(1));
  printf("\"lateSendUs\":%.1f,\"sendErrors\":%zu,\"clientDrops\":%zu}\n", latest / 1000.0, refused, drops);
  return 0;
}
