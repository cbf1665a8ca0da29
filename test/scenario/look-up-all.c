/* getaddrinfo for each name on standard input; prints how many were found, and how many microseconds the first one took. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

int main(void) {
  char name[512];
  int found = 0;
  double first = 0;
  while (fgets(name, sizeof name, stdin)) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses = 0;
    name[strcspn(name, "\n")] = 0;
    double before = now();
    if (getaddrinfo(name, 0, &hints, &addresses) == 0) found++;
    if (first == 0) first = now() - before;
    if (addresses) freeaddrinfo(addresses);
  }
  return printf("%d %.0f\n", found, first) < 0;
}
