#!/usr/bin/env perl
# One listener, many endpoints: the request's path selects the handler, and a
# path without one is refused before the connection exists.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

my %routes = (
    '/echo'  => sub { my ($c, $text) = @_; $c->send($text) },
    '/upper' => sub { my ($c, $text) = @_; $c->send(uc $text) },
    '/times' => sub {
        my ($c, $text) = @_;
        $c->send($text x $c->stash->{n});
    },
);

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 64 * 1024,
    on_handshake     => sub { my ($headers) = @_; exists $routes{ $headers->{Path} } },
    on_connect       => sub {
        my ($c, $headers) = @_;
        # Looked up once; each message then goes straight to its handler.
        $c->stash->{handler} = $routes{ $headers->{Path} };
        # The query is as the client sent it: check before use.
        my $query = defined $headers->{Query} ? $headers->{Query} : '';
        $c->stash->{n} = $query =~ /(?:\A|&)n=([1-9])(?:&|\z)/ ? $1 : 2;
    },
    on_message => sub {
        my ($c, $text) = @_;
        $c->stash->{handler}->($c, $text);
    },
);

my @paths = ('/echo', '/upper', '/times', '/times?n=3', '/nowhere');
my $open  = @paths;
sub done { EV::break unless --$open }

for my $path (@paths) {
    $ctx->connect(
        url        => "ws://127.0.0.1:$port$path",
        on_connect => sub { my ($c) = @_; $c->send('Perl ') },
        on_message => sub {
            my ($c, $text) = @_;
            printf "%-11s answers '%s'\n", $path, $text;
            $c->close;
        },
        on_close => \&done,
        on_error => sub {
            my ($c, $text) = @_;
            printf "%-11s refused: %s\n", $path, $text;
            done();
        },
    );
}
EV::run;
print "all ", scalar @paths, " paths tried\n";
