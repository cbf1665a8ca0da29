/* lookup NAME…: what the C library says of each, a line of "NAME ADDRESS…", or "NAME !ERROR". */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **names) {
  for (int i = 1; i < count; i++) {
    struct addrinfo hints, *found = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    int error = getaddrinfo(names[i], NULL, &hints, &found);
    printf("%s", names[i]);
    if (error) printf(" !%s", error == EAI_NONAME || error == -5 ? "absent" : gai_strerror(error));
    for (struct addrinfo *at = error ? NULL : found; at; at = at->ai_next) {
      char text[INET6_ADDRSTRLEN];
      const void *address = at->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)at->ai_addr)->sin_addr
                                                     : (void *)&((struct sockaddr_in6 *)at->ai_addr)->sin6_addr;
      printf(" %s", inet_ntop(at->ai_family, address, text, sizeof text));
    }
    printf("\n");
  }
  return 0;
}
