#!/usr/bin/perl
# A server for the load client's fanout: each message goes to all other connections, as often as its first octet says.
# Prints "port=N pid=N", and ends when its standard input does. --loop: by a loop over send in place of publish;
# --topics N: every connection subscribes to N topics; --deflate: compressed for whoever asks for it.
use strict;
use warnings;
use EV;
use EV::Websockets;
use Getopt::Long;

my ($loop, $deflate, $topics) = (0, 0, 1);
GetOptions(loop => \$loop, deflate => \$deflate, 'topics=i' => \$topics) or die "usage: fanout_server.pl [--loop] [--deflate] [--topics N]\n";

my %conns;
my $context = EV::Websockets::Context->new(proxy => '');
my $port = $context->listen(
    port       => 0,
    host       => '127.0.0.1',
    deflate    => $deflate ? { threshold => 1 } : 0,
    on_connect => sub {
        my ($conn) = @_;
        $conns{ 0 + $conn } = $conn;
        $conn->subscribe("topic $_") for 1 .. $topics;
    },
    on_message => sub {
        my ($conn, $message) = @_;
        my $times = ord $message;
        if ($loop) {
            for (1 .. $times) {
                for my $other (values %conns) {
                    $other->send_binary($message) if $other != $conn;
                }
            }
        }
        else {
            $context->publish('topic 1', $message, binary => 1, except => $conn) for 1 .. $times;
        }
    },
    on_close => sub { delete $conns{ 0 + $_[0] } },
);
my $end = EV::io(\*STDIN, EV::READ, sub { EV::break });
$| = 1;
print "port=$port pid=$$\n";
EV::run;
