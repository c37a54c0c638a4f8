#!/usr/bin/env perl
# A server that only this machine can reach, and of it only this user: it
# listens on a Unix socket in place of a port.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use File::Temp qw(tempdir);

# A service would have a fixed place, such as /run/app/app.sock. The path has
# room for about a hundred bytes.
my $path = tempdir('appXXXXXX', TMPDIR => 1, CLEANUP => 1) . '/app.sock';

my $ctx = EV::Websockets::Context->new;

# A socket that an earlier run has left behind would be replaced, one that is in
# use would not. The mode is set before anybody can connect.
$ctx->listen(
    path             => $path,
    limits           => 'public',
    mode             => 0600,
    max_message_size => 64 * 1024,
    on_connect       => sub {
        my ($c, $headers) = @_;
        my $from = defined $c->peer_address ? $c->peer_address : 'this machine';
        print "server: a client from $from asks for $headers->{URI}\n";
    },
    on_message => sub {
        my ($c, $bytes) = @_;
        $c->send(scalar reverse $bytes);
    },
);
printf "server: listening, file mode %04o\n", (stat $path)[2] & 07777;

# Behind the colon is what an ordinary URL has behind the host.
$ctx->connect(
    url        => "ws+unix:$path:/reverse?lang=en",
    on_connect => sub {
        my ($c) = @_;
        $c->send('stressed');
    },
    on_message => sub {
        my ($c, $bytes) = @_;
        print "client: got '$bytes'\n";
        $c->close(1000);
    },
    on_close => sub {
        my ($c, $code) = @_;
        print "client: closed with code $code\n";
        EV::break;
    },
    on_error => sub {
        my ($c, $text) = @_;
        print "client: failed: $text\n";
        EV::break;
    },
);

EV::run;

# The file goes with the context.
undef $ctx;
print "the socket is ", (-e $path ? 'still there' : 'gone'), "\n";
