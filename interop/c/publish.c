/*
 * A publisher in C, written from docs/wire.md alone.
 *
 *   publish FOLDER TOPIC COUNT      (TOPIC of letters, digits, '_' and '-')
 *
 * Sends COUNT batches of one column, "n": int32, to the first subscriber that comes, all out of the same page: it waits until
 * the page came back before it writes it again. Then it ends the stream. Says "listening", and "N came back".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { GREETING = 1, METADATA, TAGGED, LEND, LENT, PAGE = 4096, ROWS = 4, WANT = 101, FREE, WANT_EXT };
static const uint64_t ADDRESS = 1ull << 48; /* segment 1, offset 0 */

/* Arrow's own Message flatbuffers of such a schema and of a batch of four rows; any Arrow library makes them. */
static const unsigned char schema[120] = {
    16, 0, 0, 0, 0, 0, 10, 0, 12, 0, 6, 0, 5, 0, 8, 0, 10, 0, 0, 0, 0, 1, 4, 0, 12, 0, 0, 0, 8, 0, 8, 0, 0, 0, 4, 0, 8, 0, 0,
    0, 4, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 16, 0, 20, 0, 8, 0, 0, 0, 7, 0, 12, 0, 0, 0, 16, 0, 16, 0, 0, 0, 0, 0, 0, 2, 16,
    0, 0, 0, 28, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 110, 0, 0, 0, 8, 0, 12, 0, 8, 0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 1, 32};
static const unsigned char batch[136] = {
    20, 0, 0, 0, 0, 0, 0, 0, 12, 0, 22, 0, 6, 0, 5, 0, 8, 0, 12, 0, 12, 0, 0, 0, 0, 3, 4, 0, 24, 0, 0, 0, 16, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 10, 0, 24, 0, 12, 0, 4, 0, 8, 0, 10, 0, 0, 0, 60, 0, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0, 0, 0, 4};

static int peer;

static void check(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

/* A frame; a descriptor comes with its first byte. */
static void put(uint8_t kind, uint64_t tag, const void *payload, uint32_t length, int fd) {
  unsigned char frame[512] = {0}, control[CMSG_SPACE(sizeof fd)] = {0};
  memcpy(frame, &length, 4), frame[4] = kind, memcpy(frame + 8, &tag, 8), memcpy(frame + 16, payload, length);
  struct iovec part = {frame, 16 + length};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = control, message.msg_controllen = sizeof control;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  check(sendmsg(peer, &message, MSG_NOSIGNAL) == (ssize_t)(16 + length), "send");
}

static void put_metadata(uint8_t type, uint32_t sequence, const void *flatbuffer, uint32_t length) {
  unsigned char payload[256] = {type};
  memcpy(payload + 1, &sequence, 4);
  if (length) memcpy(payload + 5, flatbuffer, length);
  put(METADATA, 0, payload, 5 + length, -1);
}

/* Waits for a frame; the number of bytes of its payload. */
static uint32_t get(uint8_t *kind, uint64_t *tag, void *payload) {
  unsigned char header[16];
  uint32_t length;
  check(recv(peer, header, sizeof header, MSG_WAITALL) == sizeof header, "recv");
  memcpy(&length, header, 4), *kind = header[4], memcpy(tag, header + 8, 8);
  check(length <= 4096 && (!length || recv(peer, payload, length, MSG_WAITALL) == (ssize_t)length), "recv");
  return length;
}

int main(int argc, char **argv) {
  check(argc == 4 && chdir(argv[1]) == 0, "usage: publish FOLDER TOPIC COUNT");

  /* The memory: mapped first, sealed then. */
  int fd = memfd_create("c", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  check(fd >= 0 && !ftruncate(fd, PAGE) && !posix_fallocate(fd, 0, PAGE), "memfd");
  int32_t *rows = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  check(rows != MAP_FAILED, "mmap");
  check(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), "seal");

  /* The name: taken under the folder's lock, and it listens from its first moment. */
  struct sockaddr_un at = {.sun_family = AF_UNIX}, hidden = {.sun_family = AF_UNIX};
  snprintf(at.sun_path, sizeof at.sun_path, "%s", argv[2]);
  snprintf(hidden.sun_path, sizeof hidden.sun_path, ".c-%d", getpid());
  int lock = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(lock >= 0 && !flock(lock, LOCK_EX), "lock");
  int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(connect(other, (struct sockaddr *)&at, sizeof at) != 0, "the topic is taken");
  unlink(at.sun_path);
  check(!bind(door, (struct sockaddr *)&hidden, sizeof hidden) && !listen(door, 16), "listen");
  check(!rename(hidden.sun_path, at.sun_path), "rename");
  close(lock), close(other);
  puts("listening"), fflush(stdout);

  /* A subscriber of our own user, greeted, that asks for the topic. */
  peer = accept(door, 0, 0);
  struct ucred who;
  socklen_t size = sizeof who;
  check(peer >= 0 && !getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size) && who.uid == geteuid(), "accept");
  char boot[64] = {0}, greeting[400], payload[4096];
  int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
  check(read(file, boot, 36) == 36, "boot_id");
  snprintf(greeting, sizeof greeting, "shm:///%s?want_data=%d&free_data=%d&want_data_ext=%d&boot=%s&topic=%s", argv[2], WANT, FREE, WANT_EXT, boot, argv[2]);
  put(GREETING, 0, greeting, strlen(greeting), -1);
  uint8_t kind;
  uint64_t tag, length = PAGE, returned = 0, came;
  uint32_t count = get(&kind, &tag, payload);
  check(kind == TAGGED && (tag == WANT || tag == WANT_EXT) && count == strlen(argv[2]) && !memcmp(payload, argv[2], count), "ticket");

  put_metadata(1, 0, schema, sizeof schema);
  put(LEND, 1, &length, sizeof length, fd);
  uint32_t n = 1, last = atoi(argv[3]);
  for (; n <= last; n++) {
    for (int row = 0; row < ROWS; row++) rows[row] = n * 10 + row;
    uint64_t body[] = {ROWS * 4, 2, 0, 0, ADDRESS, ROWS * 4};
    put_metadata(1, n, batch, sizeof batch);
    put(TAGGED, 1ull << 56 | n, body, sizeof body, -1);
    do { /* Acknowledgements and credits may come before the address does. */
      count = get(&kind, &tag, payload);
      memcpy(&came, payload, 8);
    } while (kind != TAGGED || tag != FREE);
    check(count == 8 && came == ADDRESS, "an address that was not out");
    returned++;
  }
  put_metadata(0, n, 0, 0);
  unlink(at.sun_path);
  printf("%llu came back\n", (unsigned long long)returned);
  return 0;
}
