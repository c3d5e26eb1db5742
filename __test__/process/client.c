/*
 * A subscriber that tries to harm its publisher through the memory that it was lent (invariant 3).
 *
 *   client SOCKET TOPIC
 *
 * Takes part, receives one batch, says "refused WHAT" or "SUCCEEDED WHAT" for every attack, scribbles over its own
 * private view of the memory, says "scribbled", and holds the batch until its standard input closes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { GREETING = 1, METADATA, TAGGED, SEGMENT, SEGMENT_ACK };

struct header {
  uint32_t length;
  uint8_t kind, zero;
  uint16_t zeros;
  uint64_t tag;
};

static int sock, segment = -1;
static uint64_t segment_length;

static void die(const char *what) {
  perror(what);
  exit(2);
}

static void put(uint8_t kind, uint64_t tag, const void *payload, uint32_t length) {
  struct header header = {length, kind, 0, 0, tag};
  if (write(sock, &header, sizeof header) != sizeof header) die("write");
  if (length && write(sock, payload, length) != (ssize_t)length) die("write");
}

/* Reads so many bytes, and keeps a descriptor that comes with them. */
static void get(void *into, size_t length) {
  for (size_t at = 0; at < length;) {
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {(char *)into + at, length - at};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0) die("recvmsg");
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
      if (c->cmsg_type == SCM_RIGHTS) memcpy(&segment, CMSG_DATA(c), sizeof segment);
    at += (size_t)got;
  }
}

static void tried(int succeeded, const char *what) {
  if (succeeded)
    printf("SUCCEEDED %s\n", what);
  else
    printf("refused %s (%s)\n", what, strerror(errno));
  fflush(stdout);
}

static void attack(int fd, const char *how) {
  char what[200], byte = 'x';
#define TRY(expression, name) (snprintf(what, sizeof what, "%s, %s", name, how), tried((expression), what))
  TRY(mmap(0, segment_length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED, "shared writable map");
  TRY(mmap(0, segment_length, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED, "shared write-only map");
  void *readable = mmap(0, segment_length, PROT_READ, MAP_SHARED, fd, 0);
  if (readable != MAP_FAILED) {
    TRY(mprotect(readable, segment_length, PROT_READ | PROT_WRITE) == 0, "mprotect of a shared map");
    TRY(madvise(readable, segment_length, MADV_REMOVE) == 0, "madvise remove of a shared map");
  }
  TRY(pwrite(fd, &byte, 1, 0) == 1, "pwrite");
  TRY(write(fd, &byte, 1) == 1, "write");
  TRY(ftruncate(fd, 0) == 0, "ftruncate to nothing");
  TRY(ftruncate(fd, (off_t)segment_length - 4096) == 0, "ftruncate by a page");
  TRY(ftruncate(fd, (off_t)segment_length + 4096) == 0, "ftruncate beyond the end");
  TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0, "fallocate punch hole");
  TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096) == 0, "fallocate zero range");
  TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) == 0, "fallocate collapse range");
  TRY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0, "another seal");
#undef TRY
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(sock, (struct sockaddr *)&address, sizeof address)) die("connect");

  static unsigned char payload[1 << 20];
  struct header header;
  uint64_t where = 0, length = 0;
  while (!length) {
    get(&header, sizeof header);
    if (header.length >= sizeof payload) return 2;
    get(payload, header.length);
    payload[header.length] = 0;
    if (header.kind == GREETING) {
      const char *tag = strstr((char *)payload, "want_data_ext=");
      if (!tag) return 2;
      put(TAGGED, strtoull(tag + strlen("want_data_ext="), 0, 10), argv[2], (uint32_t)strlen(argv[2]));
      puts("ready");
      fflush(stdout);
    } else if (header.kind == SEGMENT) {
      memcpy(&segment_length, payload, 8);
      put(SEGMENT_ACK, header.tag, 0, 0);
    } else if (header.kind == TAGGED) {
      uint64_t count, pair[2];
      memcpy(&count, payload + 8, 8);
      for (uint64_t i = 0; i < count && !length; i++) {
        memcpy(pair, payload + 16 + 16 * i, 16);
        where = pair[0] & ((1ull << 48) - 1);
        length = pair[1];
      }
    }
  }

  unsigned char *own = mmap(0, segment_length, PROT_READ | PROT_WRITE, MAP_PRIVATE, segment, 0);
  if (own == MAP_FAILED) die("private map");
  int32_t first;
  memcpy(&first, own + where, 4);
  printf("read %d\n", first);

  attack(segment, "as received");
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", segment);
  int reopened = open(path, O_RDWR | O_CLOEXEC);
  if (reopened >= 0) attack(reopened, "reopened");
  tried((reopened = open(path, O_RDWR | O_TRUNC | O_CLOEXEC)) >= 0, "reopening with O_TRUNC");
  reopened = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (reopened >= 0) tried(write(reopened, "x", 1) == 1, "appending");

  memset(own, 0xee, segment_length);
  puts("scribbled");
  fflush(stdout);
  while (read(0, payload, sizeof payload) > 0) {
  }
  return 0;
}
