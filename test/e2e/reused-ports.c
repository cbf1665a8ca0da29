/*
 * reused-ports SERVER OWN_UID QUERIES FIRST_PORT PORTS: two users ask one name server from one port, by turns: root, and OWN_UID as byname
 * does. Every second question of root's is one that byname must ask the server itself, which it does from the same ports.
 * Prints how often each user got which answer, a line of "USER NAME ANSWER COUNT" each.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_SECONDS 4
#define MOST_KINDS 64

static struct {
  char text[160];
  int count;
} kinds[MOST_KINDS];

static void count(const char *user, const char *name, const char *answer) {
  char text[160];
  snprintf(text, sizeof text, "%s %s %s", user, name, answer);
  for (int i = 0; i < MOST_KINDS; i++) {
    if (kinds[i].count && strcmp(kinds[i].text, text)) continue;
    strcpy(kinds[i].text, text);
    kinds[i].count++;
    return;
  }
}

static int encode(unsigned char *at, int id, const char *name) {
  const unsigned char head[12] = {id >> 8, id & 255, 1, 0, 0, 1};
  unsigned char *start = at;
  memcpy(at, head, sizeof head);
  at += sizeof head;
  while (*name) {
    const size_t length = strcspn(name, ".");
    *at++ = length;
    memcpy(at, name, length);
    at += length;
    name += length + (name[length] == '.');
  }
  memcpy(at, "\0\0\1\0\1", 5);
  return at + 5 - start;
}

/* The last four bytes of an A reply without OPT are its address. */
static void ask(int socket, const struct sockaddr_storage *server, socklen_t size, int id, const char *name, char *answer) {
  unsigned char query[256], reply[512];
  const int length = encode(query, id, name);
  if (sendto(socket, query, length, 0, (const struct sockaddr *)server, size) != length) {
    sprintf(answer, "unsent:%s", strerrorname_np(errno));
    return;
  }
  for (;;) {
    struct sockaddr_storage from;
    socklen_t fromSize = sizeof from;
    memset(&from, 0, sizeof from);
    const ssize_t got = recvfrom(socket, reply, sizeof reply, 0, (struct sockaddr *)&from, &fromSize);
    if (got < 0) {
      sprintf(answer, "%s", errno == EAGAIN ? "nothing" : strerrorname_np(errno));
      return;
    }
    if (got < length || (reply[0] << 8 | reply[1]) != id) continue;
    /* Family, port and address: what else there is differs. */
    const int isSame = size == sizeof(struct sockaddr_in)
                           ? !memcmp(&from, server, 8)
                           : !memcmp(&from, server, 4) && !memcmp((char *)&from + 8, (const char *)server + 8, 16);
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, reply + got - 4, address, sizeof address);
    sprintf(answer, "%s%s", (reply[3] & 15) || !reply[7] ? "none" : address, isSame ? "" : ":from-elsewhere");
    return;
  }
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  struct sockaddr_storage server = {0}, local = {0};
  struct sockaddr_in *v4 = (struct sockaddr_in *)&server;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&server;
  const int is6 = inet_pton(AF_INET6, argv[1], &v6->sin6_addr) == 1;
  if (!is6 && inet_pton(AF_INET, argv[1], &v4->sin_addr) != 1) return 2;
  server.ss_family = local.ss_family = is6 ? AF_INET6 : AF_INET;
  v4->sin_port = htons(53);
  const socklen_t size = is6 ? sizeof *v6 : sizeof *v4;
  const int own = atoi(argv[2]), queries = atoi(argv[3]), first = atoi(argv[4]), ports = atoi(argv[5]);
  const struct timeval patience = {ANSWER_SECONDS, 0};
  for (int i = 0; i < queries; i++) {
    const int isOwn = i % 2;
    const int isMesh = isOwn || i % 4 == 0;
    char name[64], answer[64] = "EADDRINUSE";
    snprintf(name, sizeof name, isMesh ? "web.mesh.test" : "r%d-%d.outside.test", first, i);
    /* The kernel remembers the user of a socket from when it was made. */
    if (setegid(isOwn ? own : 0) || seteuid(isOwn ? own : 0)) return 3;
    const int one = socket(server.ss_family, SOCK_DGRAM, 0);
    setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    /* byname has some of the ports itself: the next one, then. */
    for (int past = 0; past < ports; past++) {
      ((struct sockaddr_in *)&local)->sin_port = htons(first + ((i >> 1) + past) % ports);
      if (bind(one, (struct sockaddr *)&local, size)) continue;
      /* Connected sockets and others by turns: the kernel looks for them in two ways. */
      if (i & 4) connect(one, (struct sockaddr *)&server, size);
      ask(one, &server, size, i & 0xffff, name, answer);
      break;
    }
    close(one);
    if (seteuid(0) || setegid(0)) return 3;
    count(isOwn ? "own" : "app", isMesh ? "mesh" : "outside", answer);
  }
  for (int i = 0; i < MOST_KINDS && kinds[i].count; i++) printf("%s %d\n", kinds[i].text, kinds[i].count);
  return 0;
}
