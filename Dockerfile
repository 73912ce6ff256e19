# syntax=docker/dockerfile:1
# Cartwheel in an image that holds nothing but its binary, certificates and an empty /data.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS=linux TARGETARCH=amd64 VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X cartwheel/app/commands.version=$VERSION" -o /out/cartwheel .
# What a volume is created from: its owner is the one that the server runs as.
RUN mkdir /out/data

FROM scratch
ARG VERSION=dev REVISION=unknown
LABEL org.opencontainers.image.title="Cartwheel" \
      org.opencontainers.image.description="Carts, stock and checkout for a shop's backend, in one process" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
# For a payment service behind https.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/cartwheel /usr/local/bin/cartwheel
COPY --from=build --chown=65532:65532 /out/data /data
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENV DATA_DIR=/data \
    LOG_FORMAT=json
VOLUME /data
# The API; the admin listener is on 5004 where ADMIN_ADDR and ADMIN_TOKEN open it to other containers.
EXPOSE 5003
STOPSIGNAL SIGTERM
# Swarm restarts by it: not for a database that is away, which a restart does not bring back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=70s \
    CMD ["/usr/local/bin/cartwheel", "healthcheck", "--live"]
ENTRYPOINT ["/usr/local/bin/cartwheel"]
CMD ["serve"]
