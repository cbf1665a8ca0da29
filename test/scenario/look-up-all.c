/* getaddrinfo for each name on standard input; prints how many were found. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(void) {
  char name[512];
  int found = 0;
  while (fgets(name, sizeof name, stdin)) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses = 0;
    name[strcspn(name, "\n")] = 0;
    if (getaddrinfo(name, 0, &hints, &addresses) == 0) found++;
    if (addresses) freeaddrinfo(addresses);
  }
  return printf("%d\n", found) < 0;
}
