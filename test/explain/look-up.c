/* getaddrinfo as programs call it: prints the error's name, or how many addresses there are. */
#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = 0;
  int error = argc == 2 ? getaddrinfo(argv[1], 0, &hints, &found) : EAI_FAIL;
  int count = 0;
  for (struct addrinfo *each = found; each; each = each->ai_next) count++;
  switch (error) {
    case 0: return printf("addresses %d\n", count) < 0;
    case EAI_NONAME: return puts("EAI_NONAME") < 0;
    case EAI_NODATA: return puts("EAI_NODATA") < 0;
    case EAI_AGAIN: return puts("EAI_AGAIN") < 0;
    case EAI_FAIL: return puts("EAI_FAIL") < 0;
  }
  return printf("error %d\n", error) < 0;
}
