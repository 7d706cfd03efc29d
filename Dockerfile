# Pin both images by digest before you depend on them: docker buildx imagetools inspect <image>
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/gitroost/gitroost/internal/server.version=${VERSION}" \
	-o /gitroost ./cmd/gitroost

FROM debian:trixie-slim
RUN apt-get update \
	&& apt-get install -y --no-install-recommends git ca-certificates bubblewrap openssh-client \
	&& rm -rf /var/lib/apt/lists/* \
	&& useradd --system --uid 7334 --home-dir /data --shell /usr/sbin/nologin gitroost \
	&& install -d -o gitroost -g gitroost -m 0700 /data
COPY --from=build /gitroost /usr/local/bin/gitroost
USER gitroost
WORKDIR /data
ENV GITROOST_LISTEN=0.0.0.0:7334 GITROOST_DATA=/data
VOLUME /data
EXPOSE 7334
HEALTHCHECK --interval=30s --timeout=6s --start-period=20s CMD ["gitroost", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gitroost"]
CMD ["serve"]
