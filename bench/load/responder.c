/*
 * A DNS responder that does as little as a real one can: up to 64 datagrams a system call each way, every answer built
 * in the buffer the question came in. It serves twice: as the upstream that must never be the bottleneck, and as "the
 * limit", what UDP sockets allow on this machine.
 *
 *   responder PORT             answers on 127.0.0.1, prints "ready" when bound
 *   responder PORT segment     replies of one size to one socket leave as one message (UDP_SEGMENT), as byname's do
 *
 *   question                            answer
 *   first label starts with "absent-"   NXDOMAIN with an SOA
 *   type A                              one address, TTL 3600
 *   anything else                       NOERROR with an SOA
 *
 * A question with an OPT record gets one back (RFC 6891 §6.1.1). Malformed ones are dropped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { BATCH = 64, SIZE = 2048, HEADER = 12, ROOM_FOR_ANSWER = 64, MOST_MESSAGE_BYTES = 65000 };

static uint8_t buffers[BATCH][SIZE];
static struct sockaddr_in peers[BATCH];
static struct iovec in[BATCH], out[BATCH];
static struct mmsghdr received[BATCH], replies[BATCH];
/* With segments: iovecs in the order of messages, the reply that follows in the same message, the size to cut at. */
static struct iovec grouped[BATCH];
static int next_of[BATCH];
static union {
  struct cmsghdr header;
  uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
} controls[BATCH];

/* Pointer to the question's name, type A, class IN, TTL 3600, 240.240.0.1. */
static const uint8_t ADDRESS[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 240, 240, 0, 1};
/* After the owner: SOA, MNAME and RNAME the root, TTL and MINIMUM 3600. */
static const uint8_t SOA[] = {0, 6, 0, 1, 0, 0, 14, 16, 0, 22, 0, 0, 0, 0, 0, 1, 0, 0,
                              14, 16, 0, 0, 3, 132, 0, 9, 58, 128, 0, 0, 14, 16};
static const uint8_t OPT[] = {0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0};

/* Turns the question into its answer. Returns the answer's length, 0 to drop. */
static size_t answer(uint8_t *m, size_t length) {
  if (length < HEADER + 6 || m[HEADER] == 0 || (m[2] & 0x80) || m[4] != 0 || m[5] != 1) return 0;
  size_t at = HEADER;
  while (m[at] != 0) {
    at += m[at] + 1u;
    if (at + 5 > length || m[at] > 63) return 0;
  }
  /* Resolvers that mix cases (0x20) ask for aBSenT-. */
  int absent = strncasecmp((char *)m + HEADER + 1, "absent-", 7) == 0;
  int address = !absent && m[at + 1] == 0 && m[at + 2] == 1;
  int opt = m[10] != 0 || m[11] != 0;
  at += 5;

  m[2] = 0x80 | (m[2] & 0x01);
  m[3] = 0x80 | (absent ? 3 : 0);
  memset(m + 6, 0, 6);
  m[address ? 7 : 9] = 1;
  if (address) {
    memcpy(m + at, ADDRESS, sizeof ADDRESS);
    at += sizeof ADDRESS;
  } else {
    /* The zone is the name less its first label. */
    m[at++] = 0xc0;
    m[at++] = HEADER + 1 + m[HEADER];
    memcpy(m + at, SOA, sizeof SOA);
    at += sizeof SOA;
  }
  if (opt) {
    m[11] = 1;
    memcpy(m + at, OPT, sizeof OPT);
    at += sizeof OPT;
  }
  return at;
}

/*
 * Makes messages of the `ready` replies: those of one size to one socket are one, and the kernel cuts it. Returns how many
 * messages there are; each reply's place in `replies` is written over.
 */
static int group(int ready) {
  static struct mmsghdr single[BATCH];
  static int first[BATCH], last[BATCH], members[BATCH];
  int messages = 0;
  memcpy(single, replies, ready * sizeof *replies);
  for (int i = 0; i < ready; i++) {
    struct sockaddr_in *to = single[i].msg_hdr.msg_name;
    int m = messages - 1;
    for (; m >= 0; m--) {
      struct sockaddr_in *other = single[first[m]].msg_hdr.msg_name;
      if (other->sin_port == to->sin_port && other->sin_addr.s_addr == to->sin_addr.s_addr &&
          out[first[m]].iov_len == out[i].iov_len && (members[m] + 1) * out[i].iov_len <= MOST_MESSAGE_BYTES)
        break;
    }
    next_of[i] = -1;
    if (m < 0) {
      m = messages++;
      first[m] = i;
      members[m] = 0;
    } else {
      next_of[last[m]] = i;
    }
    last[m] = i;
    members[m]++;
  }
  if (messages == ready) return ready;
  int place = 0;
  for (int m = 0; m < messages; m++) {
    replies[m] = single[first[m]];
    if (members[m] == 1) continue;
    struct msghdr *header = &replies[m].msg_hdr;
    header->msg_iov = &grouped[place];
    header->msg_iovlen = members[m];
    for (int i = first[m]; i >= 0; i = next_of[i]) grouped[place++] = out[i];
    header->msg_control = &controls[m];
    header->msg_controllen = CMSG_SPACE(sizeof(uint16_t));
    controls[m].header.cmsg_level = SOL_UDP;
    controls[m].header.cmsg_type = UDP_SEGMENT;
    controls[m].header.cmsg_len = CMSG_LEN(sizeof(uint16_t));
    uint16_t size = out[first[m]].iov_len;
    memcpy(CMSG_DATA(&controls[m].header), &size, sizeof size);
  }
  return messages;
}

int main(int argc, char **argv) {
  int segments = argc == 3 && strcmp(argv[2], "segment") == 0;
  if (argc != 2 && !segments) {
    fprintf(stderr, "usage: responder PORT [segment]\n");
    return 2;
  }
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  int space = 4 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &space, sizeof space);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &space, sizeof space);
  struct sockaddr_in self = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(fd, (struct sockaddr *)&self, sizeof self) != 0) {
    perror("bind");
    return 1;
  }
  for (int i = 0; i < BATCH; i++) {
    in[i].iov_base = buffers[i];
    in[i].iov_len = SIZE - ROOM_FOR_ANSWER;
    received[i].msg_hdr.msg_name = &peers[i];
    received[i].msg_hdr.msg_namelen = sizeof peers[i];
    received[i].msg_hdr.msg_iov = &in[i];
    received[i].msg_hdr.msg_iovlen = 1;
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    int count = recvmmsg(fd, received, BATCH, MSG_WAITFORONE, NULL);
    if (count < 0 && errno != EINTR) {
      perror("recvmmsg");
      return 1;
    }
    int ready = 0;
    for (int i = 0; i < count; i++) {
      size_t length = answer(buffers[i], received[i].msg_len);
      if (length == 0) continue;
      out[ready].iov_base = buffers[i];
      out[ready].iov_len = length;
      replies[ready].msg_hdr = (struct msghdr){
          .msg_name = &peers[i], .msg_namelen = received[i].msg_hdr.msg_namelen, .msg_iov = &out[ready], .msg_iovlen = 1};
      ready++;
    }
    if (segments) ready = group(ready);
    for (int sent = 0; sent < ready;) {
      int n = sendmmsg(fd, replies + sent, ready - sent, 0);
      sent += n > 0 ? n : 1; /* One that cannot be sent must not hold up the rest. */
    }
    for (int i = 0; i < count; i++) received[i].msg_hdr.msg_namelen = sizeof peers[i];
  }
}
